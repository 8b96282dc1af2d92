"""Rewrites PRelu of opset 6, whose slope is per channel, as PRelu of opset 7, whose slope is broadcast like any operand.

    PRelu-6(x [N, C, …], slope [C])  ->  PRelu-7(x, Unsqueeze(slope))

ONNX's version converter does not change the slope. https://onnx.ai/onnx/operators/onnx__PRelu.html
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.errors import ConversionError
from bundler.graph.infer import infer_shapes
from bundler.graph.provenance import describe_node


class PRelu6ToPRelu7(ir.passes.InPlacePass):
    """Requires a model of opset 6; makes slopes that opset 7 broadcasts along the channels."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every PRelu.

        Raises:
            ConversionError: the rank of an operand is unknown.
        """
        nodes = [n for n in ir.traversal.RecursiveGraphIterator(model.graph) if n.op_type == "PRelu" and n.domain == ""]
        if nodes:
            infer_shapes(model)
        for node in nodes:
            _unsqueeze_slope(node)
        return ir.passes.PassResult(model, modified=bool(nodes))


def _unsqueeze_slope(node: ir.Node) -> None:
    x, slope = node.inputs
    assert x is not None
    assert slope is not None
    if x.shape is None or slope.shape is None:
        raise ConversionError("PRelu of opset 6 needs inputs of known rank.", where=describe_node(node), fix="export it again")
    spatial = len(x.shape) - 2
    if len(slope.shape) != 1 or slope.shape[0] == 1 or spatial <= 0:
        return
    axes = ir.AttrInt64s("axes", list(range(1, spatial + 1)))
    wide = ir.Node("", "Unsqueeze", [slope], [axes], name=f"{node.name or 'prelu'}_slope")
    wide.outputs[0].name = f"{node.outputs[0].name}_slope"
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, wide)
    node.replace_input_with(1, wide.outputs[0])
