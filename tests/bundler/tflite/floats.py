"""Modules as float .tflite files, made without a full build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

import bundler
from bundler.tflite.variants import convert, write_static
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature
from tests.bundler.exporting import export_module


def float_file(module: nn.Module, call: Mapping[str, Array], work: Path) -> bytes:
    """Export and convert a module for calls of one size."""
    inputs = tuple(f"{name}={array.dtype.name}[{','.join(map(str, array.shape))}]" for name, array in call.items())
    (exported,) = export_module(module.eval(), work, inputs=inputs)
    return converted_file(exported, call, work)


def converted_file(exported: ExportedSignature, call: Mapping[str, Array], work: Path) -> bytes:
    """Convert an exported model for calls of one size."""
    model = bundler.convert(exported.onnx)
    function = model.static({name: array.shape for name, array in call.items()})
    write_static(function, model.signature.input_names, work / "saved_model")
    return convert(work / "saved_model", "float32")
