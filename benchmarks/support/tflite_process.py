"""Makes and times our TFLite files: `python -m benchmarks.support.tflite_process MODEL.onnx MODEL.npz FOLDER VARIANT…`.

Writes FOLDER/VARIANT.tflite and prints one line of JSON: variant -> seconds of its conversion, size and delegation to XNNPACK, or
the error; `lowering` -> the seconds that all variants share. int8 is calibrated with the single example, for its speed only.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import bundler
from bundler.errors import TfliteError
from bundler.tflite import clipping, placement, quantize
from bundler.tflite.delegation import delegation
from bundler.tflite.variants import convert, write_static
from bundler.values.converted import SERVING_DEFAULT


def main(source: Path, example: Path, folder: Path, variants: list[str]) -> None:
    with np.load(example) as data:
        inputs = dict(data)
    began = time.perf_counter()
    model = bundler.convert(source)
    function = model.static({name: array.shape for name, array in inputs.items()})
    write_static(function, model.signature.input_names, folder / "saved_model")
    results: dict[str, Any] = {"lowering": time.perf_counter() - began}
    for variant in variants:
        results[variant] = _convert(folder, variant, inputs)
    print(json.dumps(results))


def _convert(folder: Path, variant: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    began, path = time.perf_counter(), folder / f"{variant}.tflite"
    try:
        path.write_bytes(_int8(folder, inputs) if variant == "int8" else convert(folder / "saved_model", variant))
    except TfliteError as exc:
        return {"error": exc.what.splitlines()[0]}
    return {"seconds": time.perf_counter() - began, "bytes": path.stat().st_size, "delegation": delegation(path).to_json()}


def _int8(folder: Path, inputs: dict[str, Any]) -> bytes:
    calibrated = quantize.calibrate(folder / "saved_model", (SERVING_DEFAULT,), lambda: iter([inputs]))
    clipped = clipping.clip(calibrated, {SERVING_DEFAULT: [inputs]})
    return quantize.quantize(clipped.file, placement.float_layers(clipped.file, clipped.masked))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
