"""Makes and times our TFLite files: `python -m benchmarks.support.tflite_process MODEL.onnx MODEL.npz FOLDER VARIANT…`.

Writes FOLDER/VARIANT.tflite and prints one line of JSON: variant -> seconds of its conversion, size, delegation to XNNPACK,
time to load, and the SQNR against float32, or the error; `lowering` -> the seconds that all variants share. The int8 variants
are calibrated with CALIBRATION random calls and compared over EVALUATION others. `plain` is the int8 of TensorFlow's converter,
without our ranges and with every layer in int8.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import bundler
from bundler.errors import TfliteError
from bundler.tflite import quantize
from bundler.tflite.delegation import delegation
from bundler.tflite.int8 import Int8
from bundler.tflite.mix import decibels
from bundler.tflite.runner import TfliteModel, load_ms
from bundler.tflite.sensitivity import noise_to_signal
from bundler.tflite.variants import convert, write_static
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

CALIBRATION, EVALUATION = 16, 8
INT8 = ("plain", "int8-full", "int8")


def main(source: Path, example: Path, folder: Path, variants: list[str]) -> None:
    with np.load(example) as data:
        inputs = dict(data)
    began = time.perf_counter()
    model = bundler.convert(source)
    function = model.static({name: array.shape for name, array in inputs.items()})
    write_static(function, model.signature.input_names, folder / "saved_model")
    results: dict[str, Any] = {"lowering": time.perf_counter() - began}
    files = Files(folder, inputs)
    for variant in variants:
        results[variant] = files.measured(variant)
    print(json.dumps(results))


class Files:
    """Makes and measures the .tflite files of the SavedModel in a folder."""

    def __init__(self, folder: Path, inputs: dict[str, Array]) -> None:
        self._folder, self._calls = folder, draws(inputs, CALIBRATION + EVALUATION)

    def measured(self, variant: Any) -> dict[str, Any]:
        """Write one file, and return its figures."""
        began, path = time.perf_counter(), self._folder / f"{variant}.tflite"
        try:
            path.write_bytes(self._int8(variant) if variant in INT8 else convert(self._folder / "saved_model", variant))
        except TfliteError as exc:
            return {"error": exc.what.splitlines()[0]}
        figures = {"seconds": time.perf_counter() - began, "bytes": path.stat().st_size, "load_ms": load_ms(path)}
        return {**figures, "delegation": delegation(path).to_json(), "sqnr_db": self._sqnr_db(path)}

    @cached_property
    def _calibrated(self) -> bytes:
        samples = self._calls[:CALIBRATION]
        return quantize.calibrate(self._folder / "saved_model", (SERVING_DEFAULT,), lambda: iter(samples))

    @cached_property
    def _files(self) -> Int8:
        calls = self._calls[:CALIBRATION]
        return Int8(self._calibrated, (SERVING_DEFAULT,), lambda _: calls, self._folder / "sensitivity.tflite")

    def _int8(self, variant: str) -> bytes:
        if variant == "int8":
            return self._files.file()
        return quantize.quantize(self._calibrated if variant == "plain" else self._files.clipped.file)

    def _sqnr_db(self, path: Path) -> float | None:
        """Return the SQNR of the float output that loses most, in dB; None if nothing is lost."""
        exact, model = TfliteModel(self._folder / "float32.tflite"), TfliteModel(path)
        want, got = ([m.run_in_floats(call) for call in self._calls[CALIBRATION:]] for m in (exact, model))
        names = [name for name, array in want[0].items() if array.dtype.kind == "f"]
        noise = max(noise_to_signal(*(np.stack([call[name] for call in calls]) for calls in (want, got))) for name in names)
        return decibels(noise) if noise else None


def draws(inputs: dict[str, Array], count: int) -> list[dict[str, Array]]:
    """Return random calls like the example: normal floats, ids below 1000, and masks of ones."""
    rng = np.random.default_rng(0)

    def like(array: Array) -> Array:
        if array.dtype.kind == "f":
            return rng.standard_normal(array.shape).astype(array.dtype)
        return np.ones_like(array) if array.max() <= 1 else rng.integers(0, 1000, array.shape).astype(array.dtype)

    return [{name: like(array) for name, array in inputs.items()} for _ in range(count)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
