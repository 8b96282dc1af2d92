"""Helpers for tests of the export: export a module, and compare the ONNX file with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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

BATCHES = ["example", "random", "batch-1", "batch-5"]
"""The draws of a model whose only dynamic dim is the batch."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        return {"code": torch.relu(self.layer(x)), "raw": x * 2}


class Match(NamedTuple):
    score: Tensor
    code: Tensor


class Answers(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        a, b = x + 1, x.sum(1)
        return {
            "tuple": (a, b),
            "dict": {"b": b, "a": a},
            "named": Match(b, a),
            "nested": {"outer": {"inner": a, "list": [b, None]}},
            "same": (a, a, x),
            "echo": {"x": x * 2},
            "single": [a],
        }[self.kind]


def export_module(
    module: nn.Module, work: Path, examples: Any = None, inputs: tuple[str, ...] = (), **settings: Any
) -> tuple[ExportedSignature, ...]:
    """Export a module as the pipeline does; `settings` are those of a model in bundle.yaml, and max_opset."""
    limit = settings.pop("max_opset", None)
    loaded = from_module(module, examples=examples, inputs=[TensorSpec.parse(text) for text in inputs])
    model = ModelSpec(name="m", source="m.py:make", inputs=inputs, **settings)
    return export(loaded, model, work, max_opset=limit)


def assert_same_answers(exported: ExportedSignature, *, tolerance: float = TOLERANCE) -> list[str]:
    """Check that ONNX Runtime agrees with PyTorch on every draw, and return the names of the draws."""
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
    """Return `inputs -> outputs` on one line."""
    sides = exported.signature.inputs, exported.signature.outputs
    return " -> ".join(" ".join(str(spec) for spec in side) for side in sides)
