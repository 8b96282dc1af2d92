"""One signature of a torch module or of TorchScript: a method, its inputs, and the outputs to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bundler.export.finish import annotated_outputs, finish, keep_outputs, save
from bundler.export.flat import FlatModule, TorchReference
from bundler.export.output_dims import output_specs
from bundler.export.request import SignatureRequest
from bundler.export.shared import choose_names, choose_outputs, name_dims, unname, widen
from bundler.export.torch_onnx import Job, check_real, choose_opset, dynamic_inputs, write
from bundler.sources import LoadedModel
from bundler.sources.binding import Binding, bind_specs, parameters
from bundler.sources.example_inputs import integer_ranges, random_inputs
from bundler.sources.tensors import to_numpy, to_torch
from bundler.sources.user_code import user_code
from bundler.spec.bundle_spec import ModelSpec
from bundler.spec.signature_spec import SignatureSpec
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature
from bundler.values.signature import Signature, TensorSpec


@dataclass(frozen=True)
class _Inputs:
    """How a method is called: every dynamic dim named, examples wide enough."""

    binding: Binding
    specs: tuple[TensorSpec, ...]
    examples: dict[str, Array]


def make(loaded: LoadedModel, model: ModelSpec, request: SignatureRequest) -> ExportedSignature:
    """Export one signature.

    Raises:
        ExportError, SourceError, UsageError: as `bundler.export.export`.
    """
    module = loaded.module
    assert isinstance(module, torch.nn.Module)
    torchscript = isinstance(module, torch.jit.ScriptModule)
    given = _inputs(module, loaded, request.spec)
    flat = FlatModule(module, given.binding, method=request.spec.method)
    own = _first_answer(flat, given.examples, request.spec.method)
    chosen = model.outputs if request.spec.method == "forward" else ()
    names = dict(zip(choose_names(list(own), chosen, given.binding.names), own, strict=True))
    kept = choose_outputs(list(names), request.spec.outputs, request.name)
    flat.keep = [names[name] for name in kept]
    reference = TorchReference(flat, {names[name]: name for name in kept})
    answer = {name: to_numpy(own[names[name]]) for name in kept}
    job = Job(
        module=flat,
        tensors=tuple(to_torch(given.examples[name]) for name in given.binding.names),
        inputs=given.specs,
        outputs=tuple(names) if torchscript else kept,
        opset=choose_opset(model.opset, request.max_opset, torchscript=torchscript),
        title=str(loaded.provenance.get("class", type(module).__name__)),
        translations=request.translations,
    )
    graph = write(job, request.path, torchscript=torchscript)
    keep_outputs(graph, kept)
    dynamic_inputs(graph, given.specs, job.title)
    outputs = output_specs(reference, given.specs, given.examples, answer, annotated_outputs(graph))
    signature = Signature(unname(given.specs), unname(outputs))
    finish(graph, signature)
    save(graph, request.path)
    return ExportedSignature(request.name, request.path, signature, given.examples, reference)


def _inputs(module: torch.nn.Module, loaded: LoadedModel, row: SignatureSpec) -> _Inputs:
    """The inputs of serving_default, or those that the signature's row gives, with examples of the model's own
    where names, dtypes and dims agree and drawn ones elsewhere."""
    if not row.inputs and row.method == "forward":
        assert loaded.binding is not None
        specs = name_dims(loaded.input_specs)
        return _Inputs(loaded.binding, specs, widen(specs, loaded.example_inputs))
    rows = tuple(TensorSpec.parse(text) for text in row.inputs) or loaded.input_specs
    binding = bind_specs(parameters(module, row.method), rows)
    by_name = {spec.name: spec for spec in rows}
    ordered = name_dims([by_name[name] for name in binding.names])
    drawn = random_inputs(ordered, integer_ranges(module, binding, ordered, method=row.method))
    drawn.update(_suitable(loaded.example_inputs, ordered))
    return _Inputs(binding, ordered, widen(ordered, drawn))


def _suitable(examples: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """The model's examples, if they fit all the specs: one alone may have other dims than the drawn ones."""
    found = {}
    for spec in specs:
        array = examples.get(spec.name)
        if array is None or str(array.dtype) != spec.dtype or array.ndim != len(spec.dims):
            return {}
        if any(isinstance(d, int) and d != size for d, size in zip(spec.dims, np.shape(array), strict=True)):
            return {}
        found[spec.name] = array
    return found


def _first_answer(flat: FlatModule, examples: Mapping[str, Array], method: str) -> dict[str, torch.Tensor]:
    """The outputs of the method on its examples, under their own names and in the model's order."""
    tensors = [to_torch(examples[name]) for name in flat.binding.names]
    with user_code(f"The model's method {method} does not run on its example inputs"), torch.no_grad():
        answer = flat.answer(tensors)
    check_real((*tensors, *answer.values()), type(flat.module).__name__)
    return answer
