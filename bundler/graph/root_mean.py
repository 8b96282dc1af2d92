"""A value over the root of the mean of its squares: what LayerNormalization and RMSNormalization have in common.

    d / √(mean(d²) + epsilon)

with Pow or Mul for the square, Sqrt or Pow for the root, and Div, or Mul by a Reciprocal, a 1/… or a power of -0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bundler.graph.fusion import (
    Declined,
    add_constant,
    attribute,
    check_enclosed,
    constant,
    number,
    other_operand,
    producer,
    rank,
    reader,
)


@dataclass(frozen=True)
class Normalized:
    """The pattern as it was found.

    Attributes:
        data: d, which is divided.
        count: over how many of the last axes the mean is taken.
        result: the quotient.
        nodes: those that compute it, each after those that it reads.
    """

    data: ir.Value
    count: int
    epsilon: float
    result: ir.Value
    nodes: list[ir.Node]


def normalized(mean: ir.Node) -> Normalized | None:
    """The pattern around its mean, or None.

    Raises:
        Declined: it is one, and its mean is not over the last axes, or nothing is added to it.
    """
    square = producer(mean.inputs[0], "Pow", "Mul")
    data = None if square is None else _squared(square)
    if square is None or data is None:
        return None
    steps = _to_inverse(mean.outputs[0])
    if steps is None:
        return None
    divided = _division(steps, data)
    if divided is None:
        return None
    epsilon = number(other_operand(steps[0], mean.outputs[0]), mean.outputs[0]) if steps[0].op_type == "Add" else None
    if epsilon is None:
        raise Declined("no constant is added to the mean before the root")
    return Normalized(data, last_axes(mean), epsilon, divided.outputs[0], [square, mean, *steps, divided])


def _squared(node: ir.Node) -> ir.Value | None:
    first, second = node.inputs[:2]
    squares = first is second if node.op_type == "Mul" else number(second, first) == 2.0
    return first if squares else None


def _to_inverse(mean: ir.Value) -> list[ir.Node] | None:
    """The nodes from the mean to its root, or to one over it: Add, Sqrt or Pow, Reciprocal or 1/…."""
    steps = []
    add = reader(mean, "Add")
    if add is not None:
        steps.append(add)
    root = reader(steps[-1].outputs[0] if steps else mean, "Sqrt", "Pow")
    if root is None or (root.op_type == "Pow" and number(root.inputs[1], mean) not in (0.5, -0.5)):
        return None
    steps.append(root)
    inverse = reader(root.outputs[0], "Reciprocal", "Div")
    if inverse is not None and (inverse.op_type == "Reciprocal" or number(inverse.inputs[0], mean) == 1.0):
        steps.append(inverse)
    return steps


def _division(steps: list[ir.Node], data: ir.Value) -> ir.Node | None:
    """The Div or Mul that brings the data and the root together."""
    last = steps[-1]
    inverted = last.op_type in ("Reciprocal", "Div") or (last.op_type == "Pow" and number(last.inputs[1], data) == -0.5)
    node = reader(last.outputs[0], "Mul" if inverted else "Div")
    if node is None:
        return None
    operands = list(node.inputs)
    if node.op_type == "Mul" and operands[1] is not last.outputs[0]:
        operands.reverse()
    return node if operands[0] is data and operands[1] is last.outputs[0] else None


def last_axes(mean: ir.Node) -> int:
    """How many of the last axes a ReduceMean is over.

    Raises:
        Declined: they are not the last ones, not constant, or dropped.
    """
    axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    if axes is None:
        raise Declined("the axes of its mean are not constants")
    if not attribute(mean, "keepdims", 1):
        raise Declined("its mean drops the axes")
    of_rank = rank(mean.inputs[0])
    found = sorted(int(a) if of_rank is None or a < 0 else int(a) - of_rank for a in axes.reshape(-1))
    if not found or found != list(range(-len(found), 0)):
        raise Declined(f"its mean is over the axes {axes.tolist()}, not the last ones")
    return len(found)


@dataclass(frozen=True)
class Affine:
    """What follows a normalization: y * scale, + bias, and the casts before and after it where there are some.

    Attributes:
        x: what is normalized, before the cast.
    """

    x: ir.Value
    scale: ir.Value
    bias: ir.Value | None
    nodes: list[ir.Node]


def affine(pattern: Normalized, source: ir.Value, *, with_bias: bool) -> Affine:
    """The constants that scale and shift the pattern's result; `source` is what is normalized, in the dtype of the computation.

    Raises:
        Declined: it is not scaled by a constant of the last axes, or a cast stands where the fused operator has none.
    """
    x, result, nodes = source, pattern.result, []
    mul = reader(result, "Mul")
    if mul is None and (back := reader(result, "Cast")) is not None:
        cast = producer(source, "Cast")
        x, result, nodes = _before_cast(cast, back), back.outputs[0], [back]
        mul = reader(result, "Mul")
    if mul is None:
        raise Declined("nothing scales its result, and the fused operator would multiply by ones")
    scale = _of_last_axes(mul, result, pattern)
    nodes.append(mul)
    add = reader(mul.outputs[0], "Add") if with_bias else None
    if add is None or constant(other_operand(add, mul.outputs[0])) is None:
        return Affine(x, scale, None, nodes)
    return Affine(x, scale, _of_last_axes(add, mul.outputs[0], pattern), [*nodes, add])


def _before_cast(cast: ir.Node | None, back: ir.Node) -> ir.Value:
    x = None if cast is None else cast.inputs[0]
    back_to = ir.DataType(attribute(back, "to", 0))
    if x is None or x.dtype != back_to:
        raise Declined(f"its result is cast to {back_to.name}, which its input is not")
    computed = back.inputs[0].dtype if back.inputs[0] is not None else None
    if computed != ir.DataType.FLOAT:
        raise Declined(f"it is computed in {computed.name if computed else 'an unknown type'}, the fused operator would in FLOAT")
    return x


def _of_last_axes(node: ir.Node, value: ir.Value, pattern: Normalized) -> ir.Value:
    """The other operand as a constant of the shape of the last axes."""
    other = other_operand(node, value)
    array = constant(other)
    if array is None or other is None:
        raise Declined("what scales or shifts its result is no constant")
    sizes = pattern.data.shape[-pattern.count :] if pattern.data.shape is not None else ()
    shape = tuple(size if isinstance(size, int) else -1 for size in sizes)
    leading = max(array.ndim - pattern.count, 0)
    if array.shape != (1,) * leading + shape or array.ndim > (rank(value) or 0):
        raise Declined(f"what scales or shifts its result is {list(array.shape)}, the last axes are {list(shape)}")
    return add_constant(other, array.reshape(shape), "by_last_axes") if leading else other


def fused(op_type: str, pattern: Normalized, parts: Affine, nodes: list[ir.Node]) -> ir.Node:
    """The operator that stands for the nodes.

    Raises:
        Declined: others read what they compute on the way.
    """
    check_enclosed(nodes)
    precision = pattern.data.dtype or ir.DataType.FLOAT
    attributes = [
        ir.AttrInt64("axis", -pattern.count), ir.AttrFloat32("epsilon", pattern.epsilon),
        ir.AttrInt64("stash_type", precision.value),
    ]  # fmt: skip
    inputs = [parts.x, parts.scale] if parts.bias is None else [parts.x, parts.scale, parts.bias]
    return ir.Node("", op_type, inputs, attributes, name=nodes[-1].name)
