"""One signature of an ExportedProgram (.pt2): its graph as it is, with some of the outputs."""

from __future__ import annotations

import torch

from bundler.errors import UsageError
from bundler.export.finish import annotated_outputs, finish, keep_outputs, save
from bundler.export.flat import FlatModule, TorchReference
from bundler.export.output_dims import output_specs
from bundler.export.request import SignatureRequest
from bundler.export.shared import choose_names, choose_outputs, name_dims, unname, widen
from bundler.export.torch_onnx import OLDEST_DYNAMO, Job, check_real, choose_opset, write
from bundler.sources import LoadedModel
from bundler.sources.tensors import to_torch
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.exported import ExportedSignature
from bundler.values.signature import Signature


def make(loaded: LoadedModel, model: ModelSpec, request: SignatureRequest) -> ExportedSignature:
    """Export one signature.

    Raises:
        ExportError: torch failed.
        UsageError: the row asks for another method or other inputs than the program has.
    """
    program, binding = loaded.module, loaded.binding
    assert isinstance(program, torch.export.ExportedProgram) and binding is not None
    check_row(request, "an exported program (.pt2)")
    specs = name_dims(loaded.input_specs)
    examples = widen(specs, loaded.example_inputs)
    flat = FlatModule(program.module(), binding)
    tensors = tuple(to_torch(examples[name]) for name in binding.names)
    answer = flat.answer(tensors)
    check_real((*tensors, *answer.values()), program_title(loaded))
    own = list(answer)
    names = choose_names(own, model.outputs, binding.names)
    kept = choose_outputs(names, request.spec.outputs, request.name)
    by_name = dict(zip(names, own, strict=True))
    opset = choose_opset(model.opset, request.max_opset, torchscript=False)
    title = program_title(loaded)
    source = program if opset >= OLDEST_DYNAMO else flat
    graph = write(Job(source, tensors, specs, names, opset, title, request.translations), request.path, torchscript=False)
    keep_outputs(graph, kept)
    flat.keep = [by_name[name] for name in kept]
    reference = TorchReference(flat, {by_name[name]: name for name in kept})
    outputs = output_specs(reference, specs, examples, reference(examples), annotated_outputs(graph))
    signature = Signature(unname(specs), unname(outputs))
    finish(graph, signature)
    save(graph, request.path)
    return ExportedSignature(request.name, request.path, signature, examples, reference)


def program_title(loaded: LoadedModel) -> str:
    """What the program is called in messages."""
    return str(loaded.provenance.get("class", "the exported program"))


def check_row(request: SignatureRequest, kind: str) -> None:
    """A graph that is made already has one method and its inputs.

    Raises:
        UsageError: the row asks for others.
    """
    if request.spec.method != "forward" or request.spec.inputs:
        raise UsageError(
            f"The signature {request.name!r} asks for another method or other inputs, which {kind} does not have.",
            fix="give only outputs for it, or build from Python (file.py:callable)",
        )
