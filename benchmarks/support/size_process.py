"""Converts or compares a large model: `python -m benchmarks.support.size_process convert|compare ONNX FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf

import bundler

BATCH = 3
Array = npt.NDArray[np.float32]


def main() -> None:
    task, source, saved = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if task == "convert":
        bundler.convert(source).save(saved)
    else:
        print(error(source, saved))


def error(source: Path, saved: Path) -> float:
    """Return the largest difference between the answers of the SavedModel and NumPy, relative to the largest value."""
    x = np.random.default_rng(1).standard_normal((BATCH, _rows(source)), dtype=np.float32)
    (actual,) = tf.saved_model.load(str(saved)).signatures["serving_default"](x=tf.constant(x)).values()
    expected = answer(source, x)
    return float(np.abs(actual.numpy() - expected).max() / np.abs(expected).max())


def answer(source: Path, x: Array) -> Array:
    """Compute relu(x @ matrix + bias) for each layer, with weights mapped from the data file."""
    weights = [_mapped(tensor, source.parent) for tensor in onnx.load(source, load_external_data=False).graph.initializer]
    for matrix, bias in zip(weights[::2], weights[1::2], strict=True):
        x = np.maximum(x @ matrix + bias, 0)
    return x


def _mapped(tensor: onnx.TensorProto, folder: Path) -> Array:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(folder / entries["location"], np.float32, "r", int(entries["offset"]), tuple(tensor.dims))


def _rows(source: Path) -> int:
    return int(onnx.load(source, load_external_data=False).graph.initializer[0].dims[0])


if __name__ == "__main__":
    main()
