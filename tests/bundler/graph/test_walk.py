"""A walk meets every graph of a model once."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir

from bundler.graph.walk import all_graphs

MODEL = """<ir_version: 10, opset_import: ["" : 21, "own" : 1]>
main (bool c, float[n] x) => (float[n] y) {
    y = If (c) <
        then_branch = outer () => (float[n] a) { a = own.twice(x) },
        else_branch = other () => (float[n] b) { b = Neg(x) }
    >
}
<domain: "own", opset_import: ["" : 21]>
twice (v) => (w) {
    c = Constant <value = bool {1}> ()
    w = If (c) <then_branch = in_function () => (r) { r = Add(v, v) }, else_branch = in_function_too () => (s) { s = Neg(v) }>
}
"""


def test_subgraphs_and_functions_are_walked_once() -> None:
    graphs = list(all_graphs(ir.from_proto(onnx.parser.parse_model(MODEL))))
    operators = sorted(node.op_type for graph in graphs for node in graph)
    assert operators == ["Add", "Constant", "If", "If", "Neg", "Neg", "twice"]
