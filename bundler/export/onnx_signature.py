"""One signature of an ONNX file: a copy with some of the outputs, and what computes its reference outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bundler.errors import ExportError, UsageError
from bundler.export.finish import rename_outputs
from bundler.export.signature import (
    OutputNames,
    SignatureInputs,
    SignatureRequest,
    check_forward_only,
)
from bundler.graph.in_float32 import arrays_in_float32, write_in_float32
from bundler.graph.load import drop_constant_inputs, load
from bundler.graph.witness import WITNESSES, Run, Witness, find_witness
from bundler.sources import LoadedModel
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.arrays import Array
from bundler.values.exported import Referee


class OnnxReference:
    """A witness's outputs for an ONNX file (`bundler.graph.witness`), under the names of a signature.

    Args:
        path: the file.
        names: the name in the signature of each output, by its name in the file.
        witness: what runs the file.
    """

    def __init__(self, path: Path, names: Mapping[str, str], witness: Witness) -> None:
        self._path = path
        self._names = names
        self._name = witness.referee.name
        self._run: Run | None = witness.run

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model.

        Raises:
            ParityError: the witness rejects the file or stops.
        """
        if self._run is None:
            self._run = WITNESSES[self._name](self._path)
        outputs = self._run(inputs)
        return {name: outputs[file_name] for file_name, name in self._names.items()}

    def in_float32(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of the graph in float32 (see `bundler.values.exported.InFloat32`).

        Raises:
            ParityError: the witness rejects the float32 graph or stops.
        """
        with tempfile.TemporaryDirectory(prefix="tfbundle-float32-") as folder:
            wide = Path(folder) / "float32.onnx"
            write_in_float32(self._path, wide)
            run = WITNESSES[self._name](wide)
            outputs = run(arrays_in_float32(inputs))
        return {name: outputs[file_name] for file_name, name in self._names.items()}

    def offload_weights(self, folder: Path) -> None:
        """Close the session; the next call opens another."""
        del folder
        self._run = None


class OnnxFileWriter:
    """The `GraphWriter` of an ONNX file.

    Raises:
        UsageError: another opset is requested, or the signature names another method or other inputs.
        ExportError: the converter does not read the file's opset.
        ParityError: no witness runs the file.
    """

    def __init__(self, loaded: LoadedModel, model: ModelSpec, request: SignatureRequest) -> None:
        assert loaded.onnx is not None
        check_forward_only(request, "an ONNX file")
        self._path, self._graph = loaded.onnx, load(loaded.onnx)
        drop_constant_inputs(self._graph)
        _check_opset(self._graph, model, request)
        self.inputs = SignatureInputs.widened(loaded.input_specs, loaded.example_inputs)
        self._witness, outputs = find_witness(self._path, self.inputs.examples)
        names = _name_outputs_once(self._graph)
        self.example_outputs: Mapping[str, Array] = {name: outputs[name] for name in names}

    def write(self, outputs: OutputNames) -> ir.Model:
        """Return the file's graph with the names of the signature."""
        rename_outputs(self._graph, outputs.model_names)
        return self._graph

    def reference(self, outputs: OutputNames) -> OnnxReference:
        """Return the file as a function."""
        return OnnxReference(self._path, outputs.renamed, self._witness)

    @property
    def referee(self) -> Referee:
        """The witness."""
        return self._witness.referee


def _name_outputs_once(model: ir.Model) -> list[str]:
    """Return the names of the outputs; an output that a file lists again is dropped, as a signature has each name once."""
    outputs = {str(value.name): value for value in model.graph.outputs}
    model.graph.outputs.clear()
    model.graph.outputs.extend(outputs.values())
    return list(outputs)


def _check_opset(graph: ir.Model, model: ModelSpec, request: SignatureRequest) -> None:
    opset = graph.opset_imports.get("", 1)
    if model.opset is not None and model.opset != opset:
        raise UsageError(
            f"--opset {model.opset} does not apply: {model.source} is an ONNX file, at opset {opset}.",
            fix="omit --opset, or export the model again at that opset",
            code="TFB1205",
        )
    if request.max_opset is not None and opset > request.max_opset:
        raise ExportError(
            f"The converter {model.converter} reads ONNX up to opset {request.max_opset}; {model.source} has {opset}.",
            fix=f"export it again at opset {request.max_opset}, or use --converter native",
            code="TFB1205",
        )
