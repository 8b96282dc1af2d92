"""Models of every opset are raised to one, and nodes that the version converter would damage are kept from it."""

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


def test_opset_below_6_is_accepted_only_if_the_meaning_is_the_same() -> None:
    with pytest.raises(ConversionError, match="opset 5; the oldest one supported is 6"):
        raise_opset(model(5))
    assert raise_opset(model(5, "y = Transpose<perm = [0, 1]>(x)")).opset_imports[""] == OPSET


def test_scan_of_opset_8_with_lengths_is_rejected() -> None:
    text = """<ir_version: 4, opset_import: ["" : 8]>
        g (int64[2] lengths, float[2,1] s, float[2,4,1] xs) => (float[2,1] last) {
            last = Scan<num_scan_inputs = 1, body = b (float[1] a, float[1] i) => (float[1] c) { c = Add(a, i) }>(lengths, s, xs)
        }"""
    with pytest.raises(ConversionError, match="sequence_lens is not supported"):
        raise_opset(ir.from_proto(onnx.parser.parse_model(text)))
