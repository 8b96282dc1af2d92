"""The signature of an ONNX file: inputs without constants, dynamic dims, and types that no signature supports."""

from __future__ import annotations

import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from bundler.errors import ConversionError
from bundler.graph.onnx_signature import graph_signature, opset_of, signature_of

TEXT = """<ir_version: 3, opset_import: ["" : 9]>
    g (float[batch,2] x, float[2,3] w) => (float[batch,3] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"""


def test_constants_among_the_inputs_are_no_inputs() -> None:
    model = onnx.parser.parse_model(TEXT)
    signature = signature_of(model)
    assert [str(spec) for spec in signature.inputs] == ["x=float32[batch,2]"]
    assert [str(spec) for spec in signature.outputs] == ["y=float32[batch,3]"]
    assert graph_signature(ir.from_proto(model).graph).inputs == signature.inputs


def test_opset_is_1_without_an_import() -> None:
    model = onnx.parser.parse_model(TEXT)
    assert opset_of(model) == 9
    del model.opset_import[:]
    assert opset_of(model) == 1


def test_negative_size_is_dynamic() -> None:
    model = onnx.parser.parse_model(TEXT)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert signature_of(model).inputs[0].dims == (None, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None), "'x' is a sequence; a signature supports tensors"),
        (helper.make_tensor_value_info("x", TensorProto.FLOAT8E5M2FNUZ, [1]), "'x' has the dtype float8_e5m2fnuz"),
    ],
    ids=["sequence", "float8"],
)
def test_unsupported_types_are_an_error(value: onnx.ValueInfoProto, message: str) -> None:
    model = onnx.parser.parse_model(TEXT)
    model.graph.input[0].CopyFrom(value)
    with pytest.raises(ConversionError, match=message):
        signature_of(model)
