"""From a loaded model to one ONNX file a signature.

1. Example inputs with 1 in a dynamic dim are widened to 2: torch would take the 1 for a constant.
2. Inputs are named after `forward`'s parameters, outputs by the rule of `bundler.sources.outputs` or by
   `--output`; dtypes stay as they are.
3. What is dynamic in the outputs is what changes when the model is run at other sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundler.export.request import SignatureRequest
from bundler.sources import LoadedModel
from bundler.spec.bundle_spec import ModelSpec
from bundler.spec.signature_spec import SignatureSpec
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.exported import ExportedSignature


def export(
    loaded: LoadedModel,
    model: ModelSpec,
    work: Path,
    *,
    max_opset: int | None = None,
    translations: Mapping[str, tuple[str, str]] | None = None,
) -> tuple[ExportedSignature, ...]:
    """Write serving_default and the spec's further signatures as ONNX files into `work`.

    Args:
        loaded: what the source gave.
        model: opset, names of outputs and further signatures.
        work: an existing folder.
        max_opset: the newest opset that the converter reads; None: any.
        translations: PyTorch operators with the ONNX domain and operator that they are written as.

    Raises:
        ExportError: torch cannot export the model; its report is kept in a file that the message names.
        UsageError: names of outputs, methods or opset do not fit the model.
    """
    from bundler.export import exported_program, module_signature, onnx_signature

    rows = {SERVING_DEFAULT: SignatureSpec.model_validate({}), **model.methods}
    if loaded.onnx is not None:
        make = onnx_signature.make
    elif _is_program(loaded.module):
        make = exported_program.make
    else:
        make = module_signature.make
    requests = [SignatureRequest(name, row, work / f"{name}.onnx", max_opset, translations or {}) for name, row in rows.items()]
    made = tuple(make(loaded, model, request) for request in requests)
    if not model.cast_half:
        return made
    from bundler.export.cast_half import cast_ends

    return cast_ends(made)


def _is_program(module: Any) -> bool:
    import torch

    return isinstance(module, torch.export.ExportedProgram)
