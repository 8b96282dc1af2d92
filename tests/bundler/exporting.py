"""What tests of the export share: export a module, and hold the ONNX file against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from bundler.export.stage import export
from bundler.graph.onnx_runtime import OnnxModel
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.exported import ExportedSignature
from bundler.values.input_draws import draws
from bundler.values.signature import TensorSpec
from serving.golden.compare import compare

TOLERANCE = 5e-5
"""Relative, see serving.golden.compare: float32 through up to a hundred layers in two runtimes."""


def export_module(
    module: nn.Module, work: Path, examples: Any = None, inputs: tuple[str, ...] = (), **settings: Any
) -> tuple[ExportedSignature, ...]:
    """Export a module as the pipeline does; settings are those of a bundle.yaml's model, and max_opset."""
    limit = settings.pop("max_opset", None)
    loaded = from_module(module, examples=examples, inputs=[TensorSpec.parse(text) for text in inputs])
    model = ModelSpec(name="m", source="m.py:make", inputs=inputs, **settings)
    return export(loaded, model, work, max_opset=limit)


def assert_same_answers(exported: ExportedSignature, *, tolerance: float = TOLERANCE) -> list[str]:
    """ONNX Runtime answers what PyTorch answers, for every draw; names of the draws."""
    model = OnnxModel(exported.onnx)
    names = []
    for draw in draws(exported.signature, exported.examples):
        want, got = exported.reference(draw.inputs), model(draw.inputs)
        assert list(want) == list(got) == list(exported.signature.output_names)
        for name in want:
            difference = compare(name, want[name], got[name])
            assert difference.within(tolerance), f"{draw.name}: {difference.explain()}"
        names.append(draw.name)
    return names


def signature_text(exported: ExportedSignature) -> str:
    """`inputs -> outputs` on one line."""
    sides = exported.signature.inputs, exported.signature.outputs
    return " -> ".join(" ".join(str(spec) for spec in side) for side in sides)
