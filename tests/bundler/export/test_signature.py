"""The common steps of an export, with a writer for a graph written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from bundler.errors import UsageError
from bundler.export.finish import rename_outputs
from bundler.export.signature import (
    OutputNames,
    SignatureInputs,
    SignatureRequest,
    check_dtypes,
    check_forward_only,
    export_signature,
)
from bundler.spec.signature_spec import SignatureSpec
from bundler.values.arrays import Array
from bundler.values.exported import PYTORCH, ReferenceFn
from bundler.values.signature import Signature, TensorSpec

GRAPH = """<ir_version: 10, opset_import: ["" : 18]>
g (float[N, 3] x) => (float[N, 3] up, float[N, 3] down) { down = Neg(x)  up = Abs(x) }"""


class Writer:
    """A `GraphWriter` of GRAPH."""

    referee = PYTORCH

    def __init__(self) -> None:
        self.inputs = SignatureInputs.widened([TensorSpec.parse("x=float32[?,3]")], {"x": -np.ones((1, 3), np.float32)})
        self.example_outputs = self.run(self.inputs.examples)

    @staticmethod
    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        return {"up": np.abs(inputs["x"]), "down": -inputs["x"]}

    def write(self, outputs: OutputNames) -> ir.Model:
        model = ir.from_proto(onnx.parser.parse_model(GRAPH))
        rename_outputs(model, outputs.model_names)
        return model

    def reference(self, outputs: OutputNames) -> ReferenceFn:
        return lambda inputs: {new: self.run(dict(inputs))[name] for name, new in outputs.renamed.items()}


def request(path: Path, **spec: object) -> SignatureRequest:
    return SignatureRequest("s", SignatureSpec.model_validate(spec), path / "s.onnx", None)


def test_outputs_are_named_selected_and_get_the_inputs_dims(tmp_path: Path) -> None:
    exported = export_signature(Writer(), ["a", "b"], request(tmp_path, outputs=["b"]))
    assert [str(spec) for spec in exported.signature.inputs] == ["x=float32[?,3]"]
    assert [str(spec) for spec in exported.signature.outputs] == ["b=float32[?,3]"]
    assert exported.examples["x"].shape == (2, 3), "a dynamic dim of 1 is widened"
    assert list(exported.reference(exported.examples)) == ["b"]
    graph = onnx.load(exported.onnx).graph
    assert [output.name for output in graph.output] == ["b"]
    assert [node.op_type for node in graph.node] == ["Neg"]


def test_a_graph_with_one_method_refuses_other_methods_and_inputs(tmp_path: Path) -> None:
    check_forward_only(request(tmp_path, outputs=["b"]), "an ONNX file")
    for spec in ({"method": "encode"}, {"inputs": ["x=float32[1]"]}):
        with pytest.raises(UsageError, match="names another method or other inputs, but an ONNX file has only one"):
            check_forward_only(request(tmp_path, **spec), "an ONNX file")


def test_examples_that_do_not_fit_the_specs_are_refused() -> None:
    with pytest.raises(UsageError, match="has the shape"):
        SignatureInputs.widened([TensorSpec.parse("x=float32[batch,3]")], {"x": np.ones((2, 4), np.float32)})


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int4"])
def test_dtype_without_a_place_in_a_request_is_refused(dtype: str) -> None:
    fine = TensorSpec("x", "bfloat16", (1,))
    with pytest.raises(UsageError, match=f"The output y has the dtype {dtype}, which requests and answers cannot hold"):
        check_dtypes(Signature((fine,), (TensorSpec("y", dtype, (1,)),)))
