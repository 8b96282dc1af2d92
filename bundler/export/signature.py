"""The steps from a model to one signature as an ONNX file, whichever kind the model is of.

A `GraphWriter` knows one kind of model: it gives the graph and the reference. `export_signature` names the outputs, drops
those that the signature does not have, finds the outputs' dynamic dims and writes the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import onnx_ir as ir

from bundler.errors import UsageError
from bundler.export.finish import annotated_outputs, finish, keep_outputs, save
from bundler.export.naming import choose_names, choose_outputs, name_dims, unname_dims
from bundler.export.output_dims import output_specs
from bundler.spec.signature_spec import SignatureSpec
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature, Referee, ReferenceFn
from bundler.values.input_draws import dim_sizes, fit
from bundler.values.signature import Signature, TensorSpec, check_names
from serving.protocol.tensors import has_dtype


@dataclass(frozen=True)
class SignatureRequest:
    """One signature to export, and the file to write.

    Attributes:
        name: `serving_default` or the spec's name.
        spec: its method, inputs and outputs.
        path: the ONNX file.
        max_opset: the newest opset that the converter reads; None: any.
        translations: PyTorch operators with the ONNX domain and operator that they are written as.
    """

    name: str
    spec: SignatureSpec
    path: Path
    max_opset: int | None
    translations: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SignatureInputs:
    """The inputs of a signature: specs in which every dynamic dim has a name, and examples of 2 or more in each of them."""

    specs: tuple[TensorSpec, ...]
    examples: dict[str, Array]

    @classmethod
    def widened(cls, specs: Sequence[TensorSpec], examples: Mapping[str, Array]) -> SignatureInputs:
        """Name every dynamic dim, and repeat the examples in those of size 1, which torch would take for a constant.

        Raises:
            UsageError: the examples do not fit the specs.
        """
        named = name_dims(specs)
        signature = Signature(named, ())
        sizes = {dim: max(size, 2) for dim, size in dim_sizes(signature, examples).items()}
        return cls(named, fit(signature, examples, sizes))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(spec.name for spec in self.specs)


@dataclass(frozen=True)
class OutputNames:
    """The outputs of a model, and those that a signature has.

    Attributes:
        model_names: the model's own name of each output, by its name in the signature, in the model's order.
        selected: the names of the signature's outputs, in its order.
    """

    model_names: Mapping[str, str]
    selected: tuple[str, ...]

    @property
    def selected_model_names(self) -> tuple[str, ...]:
        """The model's own names of the selected outputs."""
        return tuple(self.model_names[name] for name in self.selected)

    @property
    def renamed(self) -> dict[str, str]:
        """The names of the selected outputs, by the model's own name."""
        return {self.model_names[name]: name for name in self.selected}


class GraphWriter(Protocol):
    """A model of one kind, with the inputs of one signature."""

    @property
    def inputs(self) -> SignatureInputs:
        """The inputs of the signature."""

    @property
    def example_outputs(self) -> Mapping[str, Array]:
        """All outputs of the model on the example inputs, by the model's own names and in its order."""

    def write(self, outputs: OutputNames) -> ir.Model:
        """Return a graph with the inputs, and with at least the selected outputs under their names in the signature."""

    def reference(self, outputs: OutputNames) -> ReferenceFn:
        """Return the function that computes the selected outputs."""

    @property
    def referee(self) -> Referee:
        """What that function runs."""


def export_signature(
    writer: GraphWriter, output_names: Sequence[str], request: SignatureRequest
) -> ExportedSignature:
    """Export one signature of a model.

    Args:
        writer: the model.
        output_names: the user's names for all outputs of `forward`; empty: the model's own names.
        request: the signature, and the file to write.

    Raises:
        ExportError: torch cannot export the model.
        UsageError: the names or the selection of outputs do not fit the model.
        SourceError, ParityError: the model does not run with another batch size.
    """
    inputs, example_outputs = writer.inputs, writer.example_outputs
    user_names = output_names if request.spec.method == "forward" else ()
    names = choose_names(list(example_outputs), user_names, inputs.names)
    selected = choose_outputs(names, request.spec.outputs, request.name)
    check_names(Signature(inputs.specs, tuple(TensorSpec(name, "", ()) for name in names)))
    outputs = OutputNames(dict(zip(names, example_outputs, strict=True)), selected)
    graph = writer.write(outputs)
    keep_outputs(graph, selected)
    reference = writer.reference(outputs)
    selected_outputs = {name: example_outputs[outputs.model_names[name]] for name in selected}
    specs = output_specs(reference, inputs.specs, inputs.examples, selected_outputs, annotated_outputs(graph))
    signature = Signature(unname_dims(inputs.specs), unname_dims(specs))
    check_dtypes(signature)
    finish(graph, signature)
    save(graph, request.path)
    return ExportedSignature(request.name, request.path, signature, inputs.examples, reference, writer.referee)


def check_dtypes(signature: Signature) -> None:
    """Check that requests and answers can hold the tensors of a signature.

    Raises:
        UsageError: a dtype has no place in a TensorProto, such as float8_e4m3fn.
    """
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not has_dtype(spec.dtype):
                raise UsageError(
                    f"The {kind} {spec.name} has the dtype {spec.dtype}, which requests and answers cannot hold.",
                    fix="cast it inside the model, or convert without serving: bundler.convert(path).save(folder)",
                    code="TFB2007",
                )


def check_forward_only(request: SignatureRequest, kind: str) -> None:
    """Check that a signature does not need more than a graph has: one method, with its inputs.

    Raises:
        UsageError: the signature names another method or other inputs.
    """
    if request.spec.method != "forward" or request.spec.inputs:
        raise UsageError(
            f"The signature {request.name!r} names another method or other inputs, but {kind} has only one of each.",
            fix="give only outputs for it, or build from Python (file.py:callable)",
            code="TFB1301",
        )
