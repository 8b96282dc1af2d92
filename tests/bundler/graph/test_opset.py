"""Models of every opset are raised to one; the meanings of single operators are tested in tests/conformance."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir
import pytest

from bundler.errors import ConversionError
from bundler.graph.opset import OPSET, raise_opset
from bundler.graph.provenance import STACK_TRACE


def model(opset: int, body: str = "y = Relu(x)") -> ir.Model:
    text = f'<ir_version: 4, opset_import: ["" : {opset}]> g (float[2,3] x) => (float[2,3] y) {{ {body} }}'
    return ir.from_proto(onnx.parser.parse_model(text))


def test_older_model_is_raised_and_keeps_its_metadata() -> None:
    older = model(9)
    older.graph[0].metadata_props[STACK_TRACE] = "line"
    raised = raise_opset(older)
    assert raised.opset_imports[""] == OPSET
    assert raised.graph[0].metadata_props[STACK_TRACE] == "line"


def test_newer_model_is_not_changed() -> None:
    newer = model(OPSET + 1)
    assert raise_opset(newer) is newer


def test_operators_unknown_to_onnx_are_kept() -> None:
    raised = raise_opset(model(13, "h = SimplifiedThing(x)  y = Relu(h)"))
    assert [(node.domain, node.op_type) for node in raised.graph] == [("", "SimplifiedThing"), ("", "Relu")]
    assert set(raised.opset_imports) == {""}


def test_model_without_an_opset_is_rejected() -> None:
    nameless = model(9)
    del nameless.opset_imports[""]
    with pytest.raises(ConversionError, match="does not state its opset"):
        raise_opset(nameless)


def test_opset_1_is_raised() -> None:
    raised = raise_opset(model(1, "y = Relu<consumed_inputs = [0]>(x)"))
    assert raised.opset_imports[""] == OPSET
    assert not raised.graph[0].attributes


def test_rewritten_nodes_keep_the_source_line_and_the_names_of_outputs() -> None:
    older = model(9, "y = Softmax<axis = 0>(x)")
    older.graph[0].metadata_props[STACK_TRACE] = "line"
    raised = raise_opset(older)
    assert [node.op_type for node in raised.graph] == ["Flatten", "Softmax", "Shape", "Reshape"]
    assert {node.metadata_props[STACK_TRACE] for node in raised.graph} == {"line"}
    assert [value.name for value in raised.graph.outputs] == ["y"]


def test_new_names_are_unique() -> None:
    raised = raise_opset(model(9, "y_flatten_0 = Relu(x)  y = Softmax<axis = 0>(y_flatten_0)"))
    names = [value.name for node in raised.graph for value in node.outputs]
    assert len(set(names)) == len(names)


def test_statistics_of_a_training_step_are_rejected() -> None:
    text = """<ir_version: 4, opset_import: ["" : 7]> g (float[2,3] x, float[3] s) => (float[2,3] y, float[3] m) {
        y, m = BatchNormalization(x, s, s, s, s) }"""
    with pytest.raises(ConversionError, match="statistics of a training step are read"):
        raise_opset(ir.from_proto(onnx.parser.parse_model(text)))


def test_scan_of_opset_8_with_lengths_is_rejected() -> None:
    text = """<ir_version: 4, opset_import: ["" : 8]>
        g (int64[2] lengths, float[2,1] s, float[2,4,1] xs) => (float[2,1] last) {
            last = Scan<num_scan_inputs = 1, body = b (float[1] a, float[1] i) => (float[1] c) { c = Add(a, i) }>(lengths, s, xs)
        }"""
    with pytest.raises(ConversionError, match="it has sequence_lens"):
        raise_opset(ir.from_proto(onnx.parser.parse_model(text)))
