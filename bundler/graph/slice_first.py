"""Takes query, key and value out of one product before its channels are split into heads, so that no value has five axes.

    Reshape [B, N, 3, H, D] + Transpose + Gather, or Slice and Squeeze -> Slice of channels + Reshape [B, N, H, D] + Transpose

1. A Gather with one constant index, or a Slice of one element with a Squeeze of its axis, takes a part of the result of a
   Reshape, or of a Transpose of it.
2. The Reshape, whose shape is constant, splits the last axis into three, and the part is taken along the first of these.
3. The parts are contiguous then, so they can be taken from the channels. Parts along another axis stay.

timm and many others write attention so. Delegates for GPUs and NPUs take tensors of four axes at most (docs/tflite.md).
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import (
    Declined,
    Fusion,
    add_constant,
    attribute,
    constant,
    producer,
    rank,
    remove_unread,
    replace,
)


class SliceFirst(Fusion):
    """Requires shapes; makes Slice, Reshape and Transpose of fewer axes."""

    roots = ("Gather", "Squeeze")

    def fuse(self, node: ir.Node) -> bool:
        """Take a part of the channels before they are reshaped."""
        taken = _gathered(node) if node.op_type == "Gather" else _squeezed(node)
        if taken is None:
            return False
        value, axis, index = taken
        transpose = producer(value, "Transpose")
        axes = list(attribute(transpose, "perm", ())) if transpose else list(range(rank(value) or 0))
        reshape = producer(transpose.inputs[0] if transpose else value, "Reshape")
        if reshape is None or not axes:
            return False
        count, width = _sizes(reshape, axes[axis])
        _rewrite(node, reshape, axes[axis], axes, (index % count) * width, width)
        return True


def _gathered(node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """Return the value of which a Gather takes a part, the axis and the index."""
    value, index = node.inputs
    found, axes = constant(index), rank(value)
    if value is None or found is None or found.ndim or not axes:
        return None
    return value, attribute(node, "axis", 0) % axes, int(found)


def _squeezed(node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """Return the same for a Squeeze of an axis of which a Slice left one element."""
    cut = producer(node.inputs[0], "Slice")
    dropped = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if cut is None or dropped is None or dropped.size != 1 or cut.inputs[0] is None:
        return None
    value, numbers = cut.inputs[0], [constant(operand) for operand in cut.inputs[1:]]
    axes = rank(value)
    if not axes or any(array is None or array.size != 1 for array in numbers):
        return None
    start, end, *rest = (int(array.item()) for array in numbers if array is not None)
    axis, step = ([*rest, 0, 1])[:2] if len(rest) != 1 else (rest[0], 1)
    if end - start != 1 or step != 1 or axis % axes != int(dropped.item()) % axes:
        return None
    return value, axis % axes, start


def _sizes(reshape: ir.Node, axis: int) -> tuple[int, int]:
    """Return the number of parts along an axis of the result of a Reshape, and the channels of each."""
    source, result = reshape.inputs[0], reshape.outputs[0]
    if source is None or source.shape is None or result.shape is None or constant(reshape.inputs[1]) is None:
        raise Declined("The shapes must be known, and the shape of Reshape constant.")
    last, split = source.shape[-1:], result.shape[-3:]
    if len(result.shape) != len(source.shape) + 2 or axis != len(result.shape) - 3:
        raise Declined("The Reshape must split the last axis into three, and the parts must lie along the first of them.")
    sizes = [size for size in split if isinstance(size, int)]
    if len(sizes) != 3 or last[0] != math.prod(sizes):
        raise Declined("The channels must be split, and nothing else.")
    return sizes[0], sizes[1] * sizes[2]


def _rewrite(node: ir.Node, reshape: ir.Node, axis: int, axes: list[int], begin: int, width: int) -> None:
    """Replace a node by a Slice of the channels, a Reshape without the axis of the parts, and a Transpose of the rest."""
    source, shape, graph = reshape.inputs[0], reshape.inputs[1], node.graph
    sizes = constant(shape)
    assert source is not None and shape is not None and sizes is not None and isinstance(graph, ir.Graph)
    if not shape.name or shape.graph is None:
        raise Declined("The shape must be an initializer.")
    numbers = {"begin": [begin], "end": [begin + width], "axis": [(rank(source) or 0) - 1], "sizes": np.delete(sizes, axis)}
    made = {name: add_constant(shape, np.array(value, np.int64), name) for name, value in numbers.items()}
    name = node.outputs[0].name
    cut = ir.Node("", "Slice", [source, made["begin"], made["end"], made["axis"]], name=f"{node.name}.channels")
    heads = ir.Node("", "Reshape", [cut.outputs[0], made["sizes"]], list(reshape.attributes.values()), name=f"{node.name}.heads")
    result = list(reshape.outputs[0].shape or ())
    for new, dims in ((cut, [*(source.shape or ())[:-1], width]), (heads, [*result[:axis], *result[axis + 1 :]])):
        graph.insert_before(node, new)
        output = new.outputs[0]
        output.name, output.type, output.shape = f"{name}.{new.op_type}", source.type, ir.Shape(dims)
    kept = [a - (a > axis) for a in axes if a != axis]
    before = node.inputs[0]
    replace([node], ir.Node("", "Transpose", [heads.outputs[0]], [ir.AttrInt64s("perm", kept)], name=node.name))
    if before is not None:
        remove_unread(before)
