"""Recognises the formula that LayerNormalization and RMSNormalization share, and the scale and bias that follow.

    d / √(mean(d²) + epsilon)

The square is a Pow or Mul, the root a Sqrt or Pow, and the division a Div or a Mul by a Reciprocal, a 1/… or a power of -0.5.
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
    """A recognised formula.

    Attributes:
        data: d, which is divided.
        count: the number of last axes that the mean is over.
        epsilon: the number that is added to the mean.
        result: the quotient.
        nodes: the nodes that compute the quotient, each after those that it reads.
    """

    data: ir.Value
    count: int
    epsilon: float
    result: ir.Value
    nodes: list[ir.Node]


def normalized(mean: ir.Node) -> Normalized | None:
    """Return the formula around its mean, or None if the node is not part of such a formula.

    Raises:
        Declined: the mean is not over the last axes, or no constant is added to it.
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
        raise Declined("A constant epsilon must be added to the mean before the root.")
    return Normalized(data, last_axes(mean), epsilon, divided.outputs[0], [square, mean, *steps, divided])


def _squared(node: ir.Node) -> ir.Value | None:
    first, second = node.inputs[:2]
    squares = first is second if node.op_type == "Mul" else number(second, first) == 2.0
    return first if squares else None


def _to_inverse(mean: ir.Value) -> list[ir.Node] | None:
    """Return the nodes from the mean to its root, or to the inverse of the root: Add, Sqrt or Pow, Reciprocal or 1/…."""
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
    """Return the Div or Mul that combines the data and the root."""
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
    """Return the number of last axes that a ReduceMean is over.

    Raises:
        Declined: the axes are not the last ones, are not constant, or are dropped.
    """
    axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    if axes is None:
        raise Declined("The axes of ReduceMean must be constant.")
    if not attribute(mean, "keepdims", 1):
        raise Declined("ReduceMean must keep its axes.")
    data_rank = rank(mean.inputs[0])
    from_end = sorted(int(a) if data_rank is None or a < 0 else int(a) - data_rank for a in axes.reshape(-1))
    if not from_end or from_end != list(range(-len(from_end), 0)):
        raise Declined(f"ReduceMean must be over the last axes, but is over {axes.tolist()}.")
    return len(from_end)


@dataclass(frozen=True)
class Affine:
    """The scale and bias that follow a normalization, with the casts before and after it.

    Attributes:
        x: the value that is normalized, before the cast.
        scale: a constant of the shape of the last axes.
        bias: a constant of the same shape, or None.
        nodes: the nodes after the normalization that belong to it.
    """

    x: ir.Value
    scale: ir.Value
    bias: ir.Value | None
    nodes: list[ir.Node]


def affine(pattern: Normalized, source: ir.Value, *, with_bias: bool) -> Affine:
    """Return the constants that scale and shift the result of a formula.

    Args:
        pattern: the formula.
        source: the value that is normalized, in the dtype of the computation.
        with_bias: whether the fused operator has a bias.

    Raises:
        Declined: the result is not scaled by a constant of the shape of the last axes, or is cast to a type that the fused
            operator does not return.
    """
    x, result, nodes = source, pattern.result, []
    mul = reader(result, "Mul")
    if mul is None and (back := reader(result, "Cast")) is not None:
        cast = producer(source, "Cast")
        x, result, nodes = _before_cast(cast, back), back.outputs[0], [back]
        mul = reader(result, "Mul")
    if mul is None:
        raise Declined("A constant must scale the result; without one the fused operator would multiply by ones.")
    scale = _last_axes_constant(mul, result, pattern)
    nodes.append(mul)
    add = reader(mul.outputs[0], "Add") if with_bias else None
    if add is None or constant(other_operand(add, mul.outputs[0])) is None:
        return Affine(x, scale, None, nodes)
    return Affine(x, scale, _last_axes_constant(add, mul.outputs[0], pattern), [*nodes, add])


def _before_cast(cast: ir.Node | None, back: ir.Node) -> ir.Value:
    x = None if cast is None else cast.inputs[0]
    back_to = ir.DataType(attribute(back, "to", 0))
    if x is None or x.dtype != back_to:
        raise Declined(f"The result is cast to {back_to.name}; the input must have that type too.")
    computed = back.inputs[0].dtype if back.inputs[0] is not None else None
    if computed != ir.DataType.FLOAT:
        raise Declined(f"The formula must compute in FLOAT, but computes in {computed.name if computed else 'an unknown type'}.")
    return x


def _last_axes_constant(node: ir.Node, value: ir.Value, pattern: Normalized) -> ir.Value:
    """Return the other operand as a constant of the shape of the last axes."""
    other = other_operand(node, value)
    array = constant(other)
    if array is None or other is None:
        raise Declined("Scale and bias must be constant.")
    sizes = pattern.data.shape[-pattern.count :] if pattern.data.shape is not None else ()
    shape = tuple(size if isinstance(size, int) else -1 for size in sizes)
    leading = max(array.ndim - pattern.count, 0)
    if array.shape != (1,) * leading + shape or array.ndim > (rank(value) or 0):
        raise Declined(f"Scale and bias must have the shape of the last axes, {list(shape)}, but one has {list(array.shape)}.")
    return add_constant(other, array.reshape(shape), "by_last_axes") if leading else other


def fused(op_type: str, pattern: Normalized, parts: Affine, nodes: list[ir.Node]) -> ir.Node:
    """Return the operator that replaces the nodes.

    Args:
        op_type: LayerNormalization or RMSNormalization.
        pattern: the formula.
        parts: its input, scale and bias.
        nodes: all nodes that are replaced; the last one computes the result.

    Raises:
        Declined: other nodes read intermediate results.
    """
    check_enclosed(nodes)
    precision = pattern.data.dtype or ir.DataType.FLOAT
    attributes = [
        ir.AttrInt64("axis", -pattern.count), ir.AttrFloat32("epsilon", pattern.epsilon),
        ir.AttrInt64("stash_type", precision.value),
    ]  # fmt: skip
    inputs = [parts.x, parts.scale] if parts.bias is None else [parts.x, parts.scale, parts.bias]
    return ir.Node("", op_type, inputs, attributes, name=nodes[-1].name)
