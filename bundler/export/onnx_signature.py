"""One signature of an ONNX file: a copy with some of the outputs, and ONNX Runtime as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bundler.errors import ExportError, UsageError
from bundler.export.exported_program import check_row
from bundler.export.finish import annotated_outputs, finish, keep_outputs, rename_outputs, save
from bundler.export.output_dims import output_specs
from bundler.export.request import SignatureRequest
from bundler.export.shared import choose_names, choose_outputs, name_dims, unname, widen
from bundler.graph.load import drop_constant_inputs, load
from bundler.graph.onnx_runtime import OnnxModel
from bundler.sources import LoadedModel
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature
from bundler.values.signature import Signature


class OnnxReference:
    """ONNX Runtime's answers under the names of the signature."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self._path = path
        self._names = names
        self._model: OnnxModel | None = None

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model.

        Raises:
            ParityError: ONNX Runtime refuses the file, or stopped.
        """
        if self._model is None:
            self._model = OnnxModel(self._path)
        answer = self._model(inputs)
        return {name: answer[own] for own, name in self._names.items()}

    def park(self, folder: Path) -> None:
        """End the session; the next call begins another."""
        del folder
        self._model = None


def make(loaded: LoadedModel, model: ModelSpec, request: SignatureRequest) -> ExportedSignature:
    """Copy the file with the signature's names, dims and outputs.

    Raises:
        UsageError: --opset, or a row with another method or inputs.
        ExportError: the converter does not read the file's opset.
    """
    assert loaded.onnx is not None
    check_row(request, "an ONNX file")
    graph = load(loaded.onnx)
    drop_constant_inputs(graph)
    _check_opset(graph, model, request)
    specs = name_dims(loaded.input_specs)
    examples = widen(specs, loaded.example_inputs)
    own = [str(value.name) for value in graph.graph.outputs]
    names = choose_names(own, model.outputs, [spec.name for spec in specs])
    kept = choose_outputs(names, request.spec.outputs, request.name)
    by_name = dict(zip(names, own, strict=True))
    reference = OnnxReference(loaded.onnx, {by_name[name]: name for name in kept})
    answer = reference(examples)
    rename_outputs(graph, names)
    keep_outputs(graph, kept)
    outputs = output_specs(reference, specs, examples, answer, annotated_outputs(graph))
    signature = Signature(unname(specs), unname(outputs))
    finish(graph, signature)
    save(graph, request.path)
    return ExportedSignature(request.name, request.path, signature, examples, reference)


def _check_opset(graph: ir.Model, model: ModelSpec, request: SignatureRequest) -> None:
    opset = graph.opset_imports.get("", 1)
    if model.opset is not None and model.opset != opset:
        raise UsageError(
            f"--opset {model.opset} does not apply: {model.source} is ONNX already, at opset {opset}.",
            fix="leave --opset out, or export the model again at that opset",
        )
    if request.max_opset is not None and opset > request.max_opset:
        raise ExportError(
            f"The converter {model.converter} reads ONNX up to opset {request.max_opset}; {model.source} has {opset}.",
            fix=f"export it again at opset {request.max_opset}, or take --converter native",
        )
