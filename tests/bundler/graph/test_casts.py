"""Casts around a node keep the names, dtypes and source lines that the rest of the model sees."""

from __future__ import annotations

import onnx.checker
import onnx.parser
import onnx_ir as ir

from bundler.graph.casts import cast_operand, cast_result

T = ir.DataType


def model() -> ir.Model:
    text = '<ir_version: 10, opset_import: ["" : 21]> main (float[n] x) => (float[n] y, float[n] z) { y = Exp(x) z = Neg(y) }'
    return ir.from_proto(onnx.parser.parse_model(text))


def test_a_node_computes_in_another_dtype_between_two_casts() -> None:
    changed = model()
    node = changed.graph.node(0)
    node.name, node.metadata_props["line"] = "exp", "model.py:1"
    node.replace_input_with(0, cast_operand(node, changed.graph.inputs[0], T.DOUBLE, "wide"))
    cast_result(node, node.outputs[0], T.DOUBLE, T.FLOAT)
    before, exp, after, negated = changed.graph
    assert [before.op_type, exp.op_type, after.op_type] == ["Cast", "Exp", "Cast"]
    assert (exp.inputs[0].name, exp.outputs[0].name, exp.outputs[0].dtype) == ("wide", "y_uncast", T.DOUBLE)
    assert [(value.name, value.dtype) for value in changed.graph.outputs] == [("y", T.FLOAT), ("z", T.FLOAT)]
    assert negated.inputs[0] is after.outputs[0] is changed.graph.outputs[0]
    assert before.metadata_props == after.metadata_props == {"line": "model.py:1"}
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
