"""Hidden nodes return to ONNX's domain, in subgraphs too."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir

from bundler.graph.hidden_nodes import HIDDEN, show_hidden

TEXT = """<ir_version: 8, opset_import: ["" : 16, "tfbundle.hidden" : 1]>
    g (bool c, float[2] x) => (float[2] y) {
        h = tfbundle.hidden.Relu(x)
        y = If(c) <
            then_branch = t () => (float[2] a) { a = tfbundle.hidden.Neg(h) },
            else_branch = e () => (float[2] b) { b = Neg(h) }
        >
    }"""


def test_hidden_nodes_are_shown_again() -> None:
    model = show_hidden(ir.from_proto(onnx.parser.parse_model(TEXT)))
    nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
    assert [node.op_type for node in nodes].count("Neg") == 2
    assert {node.domain for node in nodes} == {""}
    assert HIDDEN not in model.opset_imports
