"""A correction of RotaryEmbedding nodes: their caches get the batch size that ONNX requires."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape


def expand_rotary_caches(model: ir.Model) -> None:
    """Repeat the cos and sin caches along the batch, in place.

    torch (2.13, opset 23) fuses a rotary embedding into one node even if its caches have a batch of 1, which PyTorch would
    broadcast (transformers' decoders). Without position ids, ONNX requires caches of shape (batch, seq, half), and ONNX
    Runtime refuses others. An Expand to (batch, 1, 1) does not change caches that have this shape.

    Source: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html
    """
    for node in [n for n in model.graph.all_nodes() if n.op_type == "RotaryEmbedding" and n.domain == ""]:
        if len(node.inputs) > 3 and node.inputs[3] is not None:
            continue
        states = node.inputs[0]
        assert states is not None and node.graph is not None
        tape = Tape()
        batch = tape.op("Shape", [states], attributes={"start": 0, "end": 1})
        ones = tape.op("Constant", [], attributes={"value": ir.tensor([1, 1], dtype=ir.DataType.INT64)})
        shape = tape.op("Concat", [batch, ones], attributes={"axis": 0})
        for index in (1, 2):
            expanded = tape.op("Expand", [node.inputs[index], shape])
            node.replace_input_with(index, expanded)
        for added in tape.nodes:
            added.metadata_props.update(node.metadata_props)
        node.graph.insert_before(node, tape.nodes)
