"""Mends torch.any as torch.onnx writes it: booleans cast to int64, ReduceMax, and a cast back.

1. The model comes from PyTorch's exporter.
2. The node is a ReduceMax or ReduceMin over a Cast from bool to an integer type, and all that reads it casts it to bool.

Over nothing, the maximum of integers is their lowest number, which a cast turns into True; the maximum of booleans is False,
as torch.any is (https://onnx.ai/onnx/operators/onnx__ReduceMax.html). So the reduction is made one of booleans. torch.all, a
ReduceMin, is right in both forms.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import attribute, producer

_INTEGERS = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT8, ir.DataType.UINT8})


class ReduceBooleans(ir.passes.InPlacePass):
    """Requires dtypes and opset 20, the first whose ReduceMax takes booleans."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Turn every such reduction into one of booleans."""
        if model.producer_name != "pytorch":
            return ir.passes.PassResult(model, modified=False)
        nodes = [n for n in ir.traversal.RecursiveGraphIterator(model.graph) if n.op_type in ("ReduceMax", "ReduceMin")]
        changed = [_reduce_booleans(node) for node in nodes]
        return ir.passes.PassResult(model, modified=any(changed))


def _reduce_booleans(node: ir.Node) -> bool:
    cast, result = producer(node.inputs[0], "Cast"), node.outputs[0]
    booleans = None if cast is None else cast.inputs[0]
    if booleans is None or booleans.dtype is not ir.DataType.BOOL or result.is_graph_output():
        return False
    readers = [use.node for use in result.uses()]
    to_bool = all(n.op_type == "Cast" and attribute(n, "to", 0) == ir.DataType.BOOL for n in readers)
    if node.inputs[0] is None or node.inputs[0].dtype not in _INTEGERS or not readers or not to_bool:
        return False
    node.replace_input_with(0, booleans)
    result.dtype = ir.DataType.BOOL
    if cast is not None and not cast.outputs[0].uses() and not cast.outputs[0].is_graph_output() and cast.graph is not None:
        cast.graph.remove(cast, safe=True)
    return True
