"""Fuses Reshape, InstanceNormalization, Reshape, and the scale and bias that follow, into GroupNormalization.

1. An InstanceNormalization with constant scale and bias reads a Reshape of x to [N, groups, -1] by a constant shape.
2. A Reshape restores the shape of x, whose number of channels is a known multiple of the number of groups.
3. Constants with one number per channel scale and shift the result; either may be missing.
4. Nothing else reads intermediate results, and all nodes are in one graph.

PyTorch's exporter writes this for older opsets (seen at 14 and 18). The Reshapes require ONNX's order of axes, so a
channels-last image would be transposed before and after. https://onnx.ai/onnx/operators/onnx__GroupNormalization.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import (
    Declined,
    Fusion,
    add_constant,
    attribute,
    check_enclosed,
    constant,
    other_operand,
    producer,
    rank,
    reader,
    remove_unused,
    replace,
)
from bundler.graph.scaled_weights import by_channel
from bundler.values.arrays import Array


class FuseGroupNorm(Fusion):
    """Requires constants as initializers, shapes; makes GroupNormalization (opset 21) without Reshapes."""

    roots = ("InstanceNormalization",)

    def fuse(self, node: ir.Node) -> bool:
        """Fuse the nodes around an InstanceNormalization."""
        split, merge = producer(node.inputs[0], "Reshape"), reader(node.outputs[0], "Reshape")
        scale, bias = constant(node.inputs[1]), constant(node.inputs[2])
        if split is None or merge is None or split.inputs[0] is None or scale is None or bias is None:
            return False
        x = split.inputs[0]
        _check_shapes(x, split, merge, scale.size)
        nodes = [split, node, merge]
        channels = _channels(x, scale.size)
        factor, offset = (np.repeat(array, channels // array.size) for array in (scale, bias))
        for op_type in ("Mul", "Add"):
            follower = reader(nodes[-1].outputs[0], op_type)
            array = None if follower is None else _by_channel(other_operand(follower, nodes[-1].outputs[0]), x, channels)
            if follower is None or array is None:
                continue
            factor, offset = (factor * array, offset * array) if op_type == "Mul" else (factor, offset + array)
            nodes.append(follower)
        check_enclosed(nodes)
        shape = producer(merge.inputs[1], "Shape")
        _replace(x, nodes, node, scale.size, (factor, offset))
        remove_unused([] if shape is None else [shape])
        return True


def _check_shapes(x: ir.Value, split: ir.Node, merge: ir.Node, groups: int) -> None:
    target = constant(split.inputs[1])
    if target is None or target.size != 3 or target[1] != groups or target[2] != -1:
        raise Declined("The input must be reshaped to [N, groups, -1] by a constant shape.")
    batch = x.shape[0] if x.shape is not None else None
    if target[0] != 0 and target[0] != batch:
        raise Declined("The Reshape must keep the batch.")
    source = producer(merge.inputs[1], "Shape")
    whole = source is not None and not attribute(source, "start", 0) and "end" not in source.attributes
    same = whole and source is not None and source.inputs[0] is x
    shapes = (x.shape, merge.outputs[0].shape)
    known = None not in shapes and shapes[0] == shapes[1] and all(isinstance(d, int) or d.value for d in x.shape or ())
    if not (same or known):
        raise Declined("The result must be reshaped to the original shape.")


def _channels(x: ir.Value, groups: int) -> int:
    channels = x.shape[1] if x.shape is not None and len(x.shape) > 1 else None
    if not isinstance(channels, int) or channels % groups:
        raise Declined("The number of channels must be a known multiple of the number of groups.")
    return channels


def _by_channel(value: ir.Value | None, x: ir.Value, channels: int) -> Array | None:
    """Return a constant of the shape [C, 1, …] or [1, C, 1, …] as [C], or None for any other value."""
    array = constant(value)
    return None if array is None or array.size != channels else by_channel(array, channels, 1, rank(x))


def _replace(x: ir.Value, nodes: list[ir.Node], norm: ir.Node, groups: int, parameters: tuple[Array, Array]) -> None:
    inputs: list[ir.Value | None] = [x]
    for old, array in zip(norm.inputs[1:], parameters, strict=True):
        assert old is not None
        inputs.append(add_constant(old, array, f"by_channel_of_{norm.name or norm.outputs[0].name}"))
    attributes = [
        ir.AttrFloat32("epsilon", attribute(norm, "epsilon", 1e-5)), ir.AttrInt64("num_groups", groups),
        ir.AttrInt64("stash_type", (x.dtype or ir.DataType.FLOAT).value),
    ]  # fmt: skip
    replace(nodes, ir.Node("", "GroupNormalization", inputs, attributes, name=nodes[-1].name))
