"""One model in the forms that the TFLite contenders are made of: `python -m benchmarks.tflite_sources MODEL FOLDER`.

Writes MODEL.onnx (torch's export, the batch dynamic), MODEL.pt2 (torch.export, batch 1) and MODEL.npz (one example, by input).
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.models import MODELS, RealModel

NAMES = {
    "resnet18": "resnet18",
    "mobilenetv3_small": "mobilenetv3_small_100",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_atto": "convnext_atto",
    "vit_tiny": "vit_tiny_patch16_224",
    "bert": "bert",
    "bilstm": "bilstm",
    "unet": "unet",
}
"""Name in the table -> name in tests.models."""


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
    one = {key: value[:1] for key, value in model.inputs.items()}
    warnings.simplefilter("ignore")
    torch.onnx.export(
        model.module, (), folder / f"{name}.onnx", kwargs=dict(model.inputs), dynamo=True, verbose=False,
        dynamic_shapes=_dynamic(model), external_data=False,
    )  # fmt: skip
    with torch.no_grad():
        program = torch.export.export(Flat(model.module), (), kwargs=one, strict=False)
    torch.export.save(program, folder / f"{name}.pt2")
    try:
        torch.onnx.export(
            Flat(model.module), tuple(one.values()), folder / f"{name}.static.onnx", dynamo=False, opset_version=15,
            input_names=list(one),
        )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as exc:
        print(f"{name}: no static export: {exc}", file=sys.stderr)
    np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in one.items()})


def _dynamic(model: RealModel) -> dict[str, dict[int, Any]]:
    """The axes that `specs` names; the batch by that name."""
    batch = torch.export.Dim("batch")
    dims = {}
    for spec in model.specs:
        name, _, rest = spec.partition("=")
        axes = rest[rest.index("[") + 1 : -1].split(",")
        dims[name] = {
            i: batch if axis == "batch" else torch.export.Dim.DYNAMIC for i, axis in enumerate(axes) if not axis.isdigit()
        }
    return dims


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
