"""One model in every form that some contender reads: `python -m benchmarks.sources MODEL FOLDER`.

    MODEL.npz             one example, by input
    MODEL.onnx            torch's export of today, every dynamic axis dynamic
    MODEL.opset15.onnx    of torch's TorchScript exporter, the newest that onnx-tf reads; likewise opset12
    MODEL.static.onnx     the same at opset 15 with all axes fixed, batch 1
    MODEL.pt2             torch.export, batch 1

A form that torch cannot write is told on stderr and left out.
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

from benchmarks.models import NAMES
from tests.models import MODELS, RealModel


class Flat(torch.nn.Module):
    """The model with a tuple of tensors for its outputs: torch cannot read the classes of other packages back."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        outputs = self.module(*tensors, **named)
        return tuple(outputs.values()) if isinstance(outputs, dict) else outputs


def main(name: str, folder: Path) -> None:
    model = MODELS[NAMES[name]]()
    one = _one(model)
    warnings.simplefilter("ignore")
    np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in one.items()})
    export(model, folder / f"{name}.onnx")
    with torch.no_grad():
        program = torch.export.export(Flat(model.module), (), kwargs=one, strict=False)
    torch.export.save(program, folder / f"{name}.pt2")
    for file, inputs, opset, dynamic in (
        (folder / f"{name}.opset15.onnx", dict(model.inputs), 15, _named(model)),
        (folder / f"{name}.static.onnx", one, 15, {}),
        (folder / f"{name}.opset12.onnx", dict(model.inputs), 12, _named(model)),
    ):
        if opset < 14:
            _attention_in_steps(model.module)
        _where_possible(partial(_torchscript, model, inputs, file, opset, dynamic), file)


def _attention_in_steps(module: torch.nn.Module) -> None:
    """scaled_dot_product_attention cannot be written below opset 14: have transformers and timm spell it out."""
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("eager")
    for part in module.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False


def export(model: RealModel, file: Path) -> None:
    """torch's export of today."""
    torch.onnx.export(
        model.module, (), file, kwargs=dict(model.inputs), dynamo=True, verbose=False, dynamic_shapes=_dynamic(model),
        external_data=False,
    )  # fmt: skip


def _one(model: RealModel) -> dict[str, torch.Tensor]:
    return {key: value[:1] for key, value in model.inputs.items()}


def _torchscript(
    model: RealModel, inputs: dict[str, torch.Tensor], file: Path, opset: int, dynamic: dict[str, dict[int, str]]
) -> None:
    torch.onnx.export(
        Flat(model.module), tuple(inputs.values()), str(file), dynamo=False, opset_version=opset, input_names=list(inputs),
        dynamic_axes=dynamic,
    )  # fmt: skip


def _where_possible(write: Callable[[], None], file: Path) -> None:
    try:
        write()
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as exc:
        print(f"no {file.name}: {exc}", file=sys.stderr)
        file.unlink(missing_ok=True)


def _named(model: RealModel) -> dict[str, dict[int, str]]:
    """The dynamic axes of each input by index, as `specs` names them."""
    dims = {}
    for spec in model.specs:
        name, _, rest = spec.partition("=")
        axes = rest[rest.index("[") + 1 : -1].split(",")
        dims[name] = {index: axis for index, axis in enumerate(axes) if not axis.isdigit()}
    return dims


def _dynamic(model: RealModel) -> dict[str, dict[int, Any]]:
    batch = torch.export.Dim("batch")
    return {
        name: {index: batch if axis == "batch" else torch.export.Dim.DYNAMIC for index, axis in axes.items()}
        for name, axes in _named(model).items()
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
