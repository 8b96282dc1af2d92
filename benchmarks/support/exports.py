"""Writes a model in every form that a contender reads: `python -m benchmarks.support.exports MODEL FOLDER`.

    MODEL.npz             one example, by input
    MODEL.onnx            torch's current exporter, every dynamic axis dynamic
    MODEL.opset15.onnx    torch's TorchScript exporter at the newest opset that onnx-tf reads; also opset12
    MODEL.static.onnx     the same at opset 15 with all axes fixed, batch 1
    MODEL.pt2             torch.export, batch 1

A form that torch cannot write is reported on stderr and left out.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.models import NAMES
from tests.models import MODELS, RealModel


class Flat(torch.nn.Module):
    """The model with a tuple of tensors as outputs, since torch cannot read the output classes of other packages back."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        outputs = self.module(*tensors, **named)
        return tuple(outputs.values()) if isinstance(outputs, dict) else outputs


def main(name: str, folder: Path) -> None:
    model = MODELS[NAMES[name]]()
    example = {key: value[:1] for key, value in model.inputs.items()}
    warnings.simplefilter("ignore")
    np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in example.items()})
    export(model, folder / f"{name}.onnx")
    with torch.no_grad():
        program = torch.export.export(Flat(model.module), (), kwargs=example, strict=False)
    torch.export.save(program, folder / f"{name}.pt2")
    for file, inputs, opset, dynamic in (
        (folder / f"{name}.opset15.onnx", dict(model.inputs), 15, _dynamic_axes(model)),
        (folder / f"{name}.static.onnx", example, 15, {}),
        (folder / f"{name}.opset12.onnx", dict(model.inputs), 12, _dynamic_axes(model)),
    ):
        if opset < 14:
            _disable_fused_attention(model.module)
        _write_if_possible(partial(_torchscript, model, inputs, file, opset, dynamic), file)


def _disable_fused_attention(module: torch.nn.Module) -> None:
    """Make transformers and timm compute attention step by step: opsets below 14 have no scaled_dot_product_attention."""
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("eager")
    for part in module.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False


def export(model: RealModel, file: Path) -> None:
    """Write an ONNX file with torch's current exporter."""
    torch.onnx.export(
        model.module, (), file, kwargs=dict(model.inputs), dynamo=True, verbose=False, dynamic_shapes=_dynamic_shapes(model),
        external_data=False,
    )  # fmt: skip


def _torchscript(
    model: RealModel, inputs: dict[str, torch.Tensor], file: Path, opset: int, dynamic: dict[str, dict[int, str]]
) -> None:
    torch.onnx.export(
        Flat(model.module), tuple(inputs.values()), str(file), dynamo=False, opset_version=opset, input_names=list(inputs),
        dynamic_axes=dynamic,
    )  # fmt: skip


def _write_if_possible(write: Callable[[], None], file: Path) -> None:
    try:
        write()
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as exc:
        print(f"no {file.name}: {exc}", file=sys.stderr)
        file.unlink(missing_ok=True)


def _dynamic_axes(model: RealModel) -> dict[str, dict[int, str]]:
    """Return the dynamic axes of each input by index, with the names in `specs`."""
    dims = {}
    for spec in model.specs:
        name, _, rest = spec.partition("=")
        axes = rest[rest.index("[") + 1 : -1].split(",")
        dims[name] = {index: axis for index, axis in enumerate(axes) if not axis.isdigit()}
    return dims


def _dynamic_shapes(model: RealModel) -> dict[str, dict[int, Any]]:
    batch = torch.export.Dim("batch")
    return {
        name: {index: batch if axis == "batch" else torch.export.Dim.DYNAMIC for index, axis in axes.items()}
        for name, axes in _dynamic_axes(model).items()
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
