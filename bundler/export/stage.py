"""The export stage: from a loaded model to one ONNX file per signature.

1. Example inputs with a size of 1 in a dynamic dim are widened to 2: torch would take the 1 for a constant.
2. Inputs have the names of `forward`'s parameters. Outputs are named by the rule of `bundler.sources.outputs` or by
   `--output`. Dtypes do not change.
3. The dynamic dims of the outputs are those that change when the model runs with other sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.sources import LoadedModel
from bundler.spec.bundle_spec import ModelSpec
from bundler.spec.signature_spec import SignatureSpec
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.exported import ExportedSignature

if TYPE_CHECKING:
    from bundler.export.signature import GraphWriter, SignatureRequest


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
        loaded: the model.
        model: opset, names of outputs and further signatures.
        work: an existing folder.
        max_opset: the newest opset that the converter reads; None: any.
        translations: PyTorch operators with the ONNX domain and operator that they are written as.

    Raises:
        ExportError: torch cannot export the model; the message names the file with torch's report.
        UsageError: names of outputs, methods or the opset do not fit the model.
    """
    from bundler.export.signature import SignatureRequest, export_signature

    specs = {SERVING_DEFAULT: SignatureSpec.model_validate({}), **model.methods}
    requests = [
        SignatureRequest(name, spec, work / f"{name}.onnx", max_opset, translations or {}) for name, spec in specs.items()
    ]
    writer = _writer(loaded)
    exported = tuple(export_signature(writer(loaded, model, request), model.outputs, request) for request in requests)
    if not model.cast_half:
        return exported
    from bundler.export.cast_half import cast_signatures

    return cast_signatures(exported)


def _writer(loaded: LoadedModel) -> Callable[[LoadedModel, ModelSpec, SignatureRequest], GraphWriter]:
    """Return the class that writes the graph of this kind of model."""
    if loaded.onnx is not None:
        from bundler.export.onnx_signature import OnnxFileWriter

        return OnnxFileWriter
    import torch

    if isinstance(loaded.module, torch.export.ExportedProgram):
        from bundler.export.exported_program import ProgramWriter

        return ProgramWriter
    from bundler.export.module_signature import ModuleWriter

    return ModuleWriter
