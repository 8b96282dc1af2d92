"""One signature of an ExportedProgram (.pt2): its graph as it is, with some of the outputs."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import torch

from bundler.export.flat import FlatModule, TorchReference
from bundler.export.signature import (
    OutputNames,
    SignatureInputs,
    SignatureRequest,
    check_forward_only,
)
from bundler.export.torch_onnx import OLDEST_DYNAMO, Job, check_real, choose_opset, write
from bundler.sources import LoadedModel
from bundler.sources.tensors import to_numpy, to_torch
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.arrays import Array
from bundler.values.exported import PYTORCH


class ProgramWriter:
    """The `GraphWriter` of an exported program.

    Raises:
        ExportError: an input or output is complex.
        UsageError: the signature names another method or other inputs, or the opset is not supported.
    """

    referee = PYTORCH

    def __init__(self, loaded: LoadedModel, model: ModelSpec, request: SignatureRequest) -> None:
        check_forward_only(request, "an exported program (.pt2)")
        opset = choose_opset(model.opset, request.max_opset, torchscript=False)
        program, binding = loaded.module, loaded.binding
        assert isinstance(program, torch.export.ExportedProgram) and binding is not None
        self.inputs = SignatureInputs.widened(loaded.input_specs, loaded.example_inputs)
        self._program, self._opset, self._request = program, opset, request
        self._title = str(loaded.provenance.get("class", "the exported program"))
        self._flat = FlatModule(program.module(), binding)
        self._tensors = tuple(to_torch(self.inputs.examples[name]) for name in binding.names)
        outputs = self._flat.answer(self._tensors)
        check_real((*self._tensors, *outputs.values()), self._title)
        self.example_outputs: Mapping[str, Array] = {name: to_numpy(tensor) for name, tensor in outputs.items()}

    def write(self, outputs: OutputNames) -> ir.Model:
        """Return a graph with all outputs.

        Raises:
            ExportError: torch failed.
        """
        job = Job(
            module=self._program if self._opset >= OLDEST_DYNAMO else self._flat,
            tensors=self._tensors,
            inputs=self.inputs.specs,
            outputs=tuple(outputs.model_names),
            opset=self._opset,
            title=self._title,
            translations=self._request.translations,
        )
        return write(job, self._request.path, torchscript=False)

    def reference(self, outputs: OutputNames) -> TorchReference:
        """Return the program as a function."""
        self._flat.keep = outputs.selected_model_names
        return TorchReference(self._flat, outputs.renamed)
