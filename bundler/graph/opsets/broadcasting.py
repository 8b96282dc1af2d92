"""Opset 7 gave binary operators NumPy's broadcasting; before it, `broadcast` and `axis` aligned the second operand.

    Add-6<broadcast = 1, axis = 1>(a [N, C, H, W], b [C])  ->  Add-7(a, Reshape(b, [C, 1, 1]))

https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md
"""

from __future__ import annotations

import math

import onnx_ir as ir

from bundler.graph.opsets.rules import NodeEditor, rule

BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")


@rule(*BINARY, before=7)
def align_second_operand(edit: NodeEditor) -> None:
    """Add the trailing dims of size 1 that make NumPy's rule pair the same dims."""
    broadcast, axis = edit.take("broadcast", 0), edit.take("axis")
    if not broadcast:
        return
    first, second = edit.operand(0), edit.operand(1)
    if _is_scalar(second):
        if second.shape is not None and first.shape is not None and len(second.shape) > len(first.shape):
            edit.node.replace_input_with(1, edit.add("Reshape", [second, edit.constant([])]))
        return
    if axis is None:
        return  # the last dims are paired, as in NumPy's rule
    rank = edit.rank(first)
    trailing = rank - (axis % rank if rank else 0) - edit.rank(second)
    if trailing < 0:
        raise edit.error(f"axis {axis} leaves too few dims of the first operand for the second")
    if trailing:
        edit.node.replace_input_with(1, _with_trailing_dims(edit, second, trailing))


@rule("PRelu", before=7)
def align_slope(edit: NodeEditor) -> None:
    """Reshape a slope per channel, [C], to [C, 1, …].

    https://onnx.ai/onnx/operators/onnx__PRelu.html
    """
    x, slope = edit.operand(0), edit.operand(1)
    spatial = edit.rank(x) - 2
    if edit.rank(slope) == 1 and not _is_scalar(slope) and spatial > 0:
        edit.node.replace_input_with(1, _with_trailing_dims(edit, slope, spatial))


@rule("Gemm", before=7)
def drop_broadcast(edit: NodeEditor) -> None:
    """Drop `broadcast`: the third operand is now always broadcast."""
    edit.take("broadcast")


def _is_scalar(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static() and math.prod(value.shape.numpy()) == 1


def _with_trailing_dims(edit: NodeEditor, value: ir.Value, count: int) -> ir.Value:
    rank = edit.rank(value)
    return edit.add("Unsqueeze", [value, edit.constant(range(rank, rank + count))])
