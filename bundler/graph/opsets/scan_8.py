"""Rewrites Scan of opset 8, which scans axis 1 of batches, as Scan of opset 9, which has no batch.

    Scan-8(states, scanned)  ->  Scan-9 over the batch of { Scan-9 over time of the same body }

https://onnx.ai/onnx/operators/onnx__Scan.html
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.opsets.rules import NodeEditor, rule


@rule("Scan", before=9)
def scan_batches(edit: NodeEditor) -> None:
    """Nest the scan over time in a scan over the batch."""
    node = edit.node
    if node.inputs[0] is not None:
        raise edit.error("it has sequence_lens")
    operands = [v for v in node.inputs[1:] if v is not None]
    inner_inputs = [ir.Value(name=f"{node.name or 'scan'}_item_{i}", type=v.type) for i, v in enumerate(operands)]
    attributes = [a for a in node.attributes.values() if a.name in ("body", "num_scan_inputs")]
    if "directions" in node.attributes:
        attributes.append(ir.AttrInt64s("scan_input_directions", node.attributes["directions"].as_ints()))
    inner = ir.Node("", "Scan", inner_inputs, attributes, num_outputs=len(node.outputs), name=f"{node.name}_time")
    for i, (value, outer) in enumerate(zip(inner.outputs, node.outputs, strict=True)):
        value.name, value.type = f"{node.name or 'scan'}_result_{i}", outer.type
    body = ir.Graph(inner_inputs, inner.outputs, nodes=[inner], name="batch")
    outer_scan = ir.Node(
        "", "Scan", operands, [ir.AttrGraph("body", body), ir.AttrInt64("num_scan_inputs", len(operands))],
        num_outputs=len(node.outputs), name=node.name,
    )  # fmt: skip
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, outer_scan)
    for index, new in enumerate(outer_scan.outputs):
        edit.replace(new, index)
    edit.remove()
