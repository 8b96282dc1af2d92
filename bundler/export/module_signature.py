"""One signature of a torch module or of TorchScript: a method, its inputs, and some of its outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import torch

from bundler.export.flat import FlatModule, TorchReference
from bundler.export.naming import name_dims
from bundler.export.signature import OutputNames, SignatureInputs, SignatureRequest
from bundler.export.torch_onnx import Job, check_dynamic_inputs, check_real, choose_opset, write
from bundler.sources import LoadedModel
from bundler.sources.binding import Binding, bind_specs, parameters
from bundler.sources.example_inputs import integer_ranges, random_inputs
from bundler.sources.tensors import to_numpy, to_torch
from bundler.sources.user_code import user_code
from bundler.spec.bundle_spec import ModelSpec
from bundler.spec.signature_spec import SignatureSpec
from bundler.values.arrays import Array
from bundler.values.exported import PYTORCH
from bundler.values.signature import TensorSpec


class ModuleWriter:
    """The `GraphWriter` of a torch module or of TorchScript.

    Raises:
        ExportError: an input or output is complex.
        SourceError: the module does not run on its example inputs.
        UsageError: the module has no such method, or the inputs do not fit it.
    """

    referee = PYTORCH

    def __init__(self, loaded: LoadedModel, model: ModelSpec, request: SignatureRequest) -> None:
        module, method = loaded.module, request.spec.method
        assert isinstance(module, torch.nn.Module)
        self._opset, self._request = model.opset, request
        self._torchscript = isinstance(module, torch.jit.ScriptModule)
        self._title = str(loaded.provenance.get("class", type(module).__name__))
        binding, self.inputs = _inputs(module, loaded, request.spec)
        self._flat = FlatModule(module, binding, method=method)
        self._tensors = tuple(to_torch(self.inputs.examples[name]) for name in binding.names)
        outputs = self._run()
        check_real((*self._tensors, *outputs.values()), type(module).__name__)
        self.example_outputs: Mapping[str, Array] = {name: to_numpy(tensor) for name, tensor in outputs.items()}

    def _run(self) -> dict[str, torch.Tensor]:
        with user_code(f"The model's method {self._flat.method} does not run on its example inputs"), torch.no_grad():
            return self._flat.answer(self._tensors)

    def write(self, outputs: OutputNames) -> ir.Model:
        """Return a graph with the selected outputs, or with all outputs for TorchScript.

        Raises:
            ExportError: torch failed, or fixed a dynamic dim.
            UsageError: the opset is not supported.
        """
        self._flat.keep = outputs.selected_model_names
        job = Job(
            module=self._flat,
            tensors=self._tensors,
            inputs=self.inputs.specs,
            outputs=tuple(outputs.model_names) if self._torchscript else outputs.selected,
            opset=choose_opset(self._opset, self._request.max_opset, torchscript=self._torchscript),
            title=self._title,
            translations=self._request.translations,
        )
        graph = write(job, self._request.path, torchscript=self._torchscript)
        check_dynamic_inputs(graph, self.inputs.specs, self._title)
        return graph

    def reference(self, outputs: OutputNames) -> TorchReference:
        """Return the method as a function."""
        return TorchReference(self._flat, outputs.renamed)


def _inputs(module: torch.nn.Module, loaded: LoadedModel, spec: SignatureSpec) -> tuple[Binding, SignatureInputs]:
    """Return how the method is called, and its inputs: those of serving_default, or those in the signature's spec.

    The examples are the model's own if their names, dtypes and dims fit, and random ones otherwise.
    """
    if not spec.inputs and spec.method == "forward":
        assert loaded.binding is not None
        return loaded.binding, SignatureInputs.widened(loaded.input_specs, loaded.example_inputs)
    specs = tuple(TensorSpec.parse(text) for text in spec.inputs) or loaded.input_specs
    binding = bind_specs(parameters(module, spec.method), specs)
    by_name = {tensor.name: tensor for tensor in specs}
    ordered = name_dims([by_name[name] for name in binding.names])
    examples = random_inputs(ordered, integer_ranges(module, binding, ordered, method=spec.method))
    examples.update(_fitting_examples(loaded.example_inputs, ordered))
    return binding, SignatureInputs.widened(ordered, examples)


def _fitting_examples(examples: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Return the model's examples if all fit the specs, else none: a mixture could disagree on the size of a dim."""
    fitting = {}
    for spec in specs:
        array = examples.get(spec.name)
        if array is None or str(array.dtype) != spec.dtype or array.ndim != len(spec.dims):
            return {}
        if any(isinstance(d, int) and d != size for d, size in zip(spec.dims, np.shape(array), strict=True)):
            return {}
        fitting[spec.name] = array
    return fitting
