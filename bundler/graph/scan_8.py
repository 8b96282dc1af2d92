"""Rewrites Scan of opset 8, which scans axis 1 of batches, as Scan of opset 9, which has no batch.

    Scan-8(states, scanned)  ->  Scan-9 over the batch of { Scan-9 over time of the same body }

ONNX's version converter removes the batch axis from the model's inputs and outputs instead, which changes the model. The new
nodes are hidden from it (`hidden_nodes`).
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.errors import ConversionError
from bundler.graph.hidden_nodes import HIDDEN
from bundler.graph.provenance import describe_node


class Scan8ToScan9(ir.passes.InPlacePass):
    """Requires a model of opset 8; makes hidden Scan nodes of opset 9."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every Scan.

        Raises:
            ConversionError: a Scan has sequence lengths.
        """
        nodes = [n for n in ir.traversal.RecursiveGraphIterator(model.graph) if n.op_type == "Scan" and n.domain == ""]
        for node in nodes:
            _rewrite(node)
        if nodes:
            model.opset_imports[HIDDEN] = 1
        return ir.passes.PassResult(model, modified=bool(nodes))


def _rewrite(node: ir.Node) -> None:
    if node.inputs[0] is not None:
        raise ConversionError(
            "Scan of opset 8 with sequence_lens is not supported.", where=describe_node(node), fix="export it again"
        )
    operands = [v for v in node.inputs[1:] if v is not None]
    inner_inputs = [ir.Value(name=f"{node.name or 'scan'}_item_{i}", type=v.type) for i, v in enumerate(operands)]
    attributes = [a for a in node.attributes.values() if a.name in ("body", "num_scan_inputs")]
    if "directions" in node.attributes:
        attributes.append(ir.AttrInt64s("scan_input_directions", node.attributes["directions"].as_ints()))
    inner = ir.Node(HIDDEN, "Scan", inner_inputs, attributes, num_outputs=len(node.outputs), name=f"{node.name}_time")
    for i, (value, outer) in enumerate(zip(inner.outputs, node.outputs, strict=True)):
        value.name, value.type = f"{node.name or 'scan'}_result_{i}", outer.type
    body = ir.Graph(inner_inputs, inner.outputs, nodes=[inner], name="batch")
    outer_scan = ir.Node(
        HIDDEN, "Scan", operands, [ir.AttrGraph("body", body), ir.AttrInt64("num_scan_inputs", len(operands))],
        num_outputs=len(node.outputs), name=node.name,
    )  # fmt: skip
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, outer_scan)
    for old, new in zip(node.outputs, outer_scan.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
