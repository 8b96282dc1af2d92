"""Modules as float .tflite files with ranges, made without a full build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

import bundler
from bundler.tflite.quantize import calibrate
from bundler.tflite.variants import write_static
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from tests.bundler.exporting import export_module


def calibrated(module: nn.Module, calls: Sequence[Mapping[str, Array]], work: Path) -> bytes:
    """Export, convert and calibrate a module for calls of one size, with the ranges that TensorFlow finds."""
    inputs = tuple(f"{name}={array.dtype.name}[{','.join(map(str, array.shape))}]" for name, array in calls[0].items())
    (exported,) = export_module(module.eval(), work, inputs=inputs)
    model = bundler.convert(exported.onnx)
    function = model.static({name: array.shape for name, array in calls[0].items()})
    write_static(function, model.signature.input_names, work / "saved_model")
    return calibrate(work / "saved_model", (SERVING_DEFAULT,), lambda: iter(calls))
