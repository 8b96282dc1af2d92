"""Attention scales its scores within the projection of the query, and reads the key where it stands.

    (s q) @ (t k'),  q @ k' * s,  q @ k' / s,  Attention(q, k, v, scale=s)        s, t numbers

1. The node is the product of two computed matrices of rank 3 or more whose result goes into a Softmax, with at most a scale and a
   mask between, or an Attention. It is of float32 or float64: half precision scales both sides, against overflow.
2. A key that torch.onnx turned by Reshape, Transpose and Reshape, all its sizes its own, is read through one Transpose, which the
   product does for free. Seen in every attention that torch.onnx writes below opset 23.
3. Where the query is made by a product with constant weights through Reshape, Transpose, Squeeze, Slice, Split and Gather, and
   nothing else reads these channels, its weights and bias take the whole scale.
4. Where it is not, the scales of query and key become one on the query; one alone stays where it is.

TensorFlow has no operator for attention on CPU: two products, a Softmax and the sum with the mask are the least it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bundler.graph.channel_paths import channels_behind
from bundler.graph.extents import extents_in, extents_of
from bundler.graph.fusion import (
    DOMAIN,
    Declined,
    Fusion,
    add_constant,
    attribute,
    number,
    producer,
    rank,
    remove_unread,
    sole_consumer,
)
from bundler.graph.scaled_weights import channels_of, scale, take_over

_FULL = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class FuseAttention(Fusion):
    """Needs: ranks, FuseLinear, FuseMaskedSoftmax. Gives: q @ k' without a scale of its own, and k' as one Transpose of k."""

    roots = ("MatMul", "Attention")

    def fuse(self, node: ir.Node) -> bool:
        return _attention(node) if node.op_type == "Attention" else _product(node)


def _attention(node: ir.Node) -> bool:
    query, factor = node.inputs[0], attribute(node, "scale", None)
    width = None if query is None or query.shape is None else query.shape[-1]
    if query is None or factor == 1.0:
        return False
    _check_dtype(query)
    if factor is None:
        heads = attribute(node, "q_num_heads", 1) if rank(query) == 3 else 1
        if not isinstance(width, int) or not heads:
            raise Declined("the size of a head is unknown")
        factor = 1 / math.sqrt(width // heads)
    _fold(query, float(factor), node)
    node.attributes["scale"] = ir.AttrFloat32("scale", 1.0)
    return True


def _product(node: ir.Node) -> bool:
    if any(value is None or value.const_value is not None or (rank(value) or 0) < 3 for value in node.inputs):
        return False
    behind = _scale_behind(node)
    if not _goes_into_softmax(node.outputs[0] if behind is None else behind.node.outputs[0]):
        return False
    query, key = (value for value in node.inputs if value is not None)
    before, beside = _scale_of(query), _scale_of(key)
    source = key if beside is None else beside.value
    turned = _turned_from(source)
    scales = [scale for scale in (before, beside, behind) if scale is not None]
    if turned is None and not scales:
        return False
    _check_dtype(query)
    if scales:
        query = query if before is None else before.value
        through = node if before is None else before.node
        try:
            _fold(query, math.prod(scale.factor for scale in scales), through)
        except Declined:
            if turned is None and (before is None or beside is None):
                raise
            query, behind = _scaled_once(node, query, before, beside), None
    _read(node, 0, query)
    _read(node, 1, source if turned is None else _swapped(turned, source, node))
    if behind is not None:
        take_over(node, behind.node)
    return True


@dataclass(frozen=True)
class _Scale:
    """A node that multiplies `value` by a number, which it reads from the constant `by`."""

    node: ir.Node
    value: ir.Value
    by: ir.Value
    factor: float


def _scale_of(value: ir.Value) -> _Scale | None:
    node = producer(value, "Mul", "Div")
    if node is None:
        return None
    first, second = node.inputs
    for operand, by in ((first, second), (second, first))[: 1 if node.op_type == "Div" else 2]:
        factor = number(by, operand) or _computed(by)
        if operand is not None and by is not None and factor and operand.const_value is None:
            return _Scale(node, operand, by, 1 / factor if node.op_type == "Div" else factor)
    return None


def _computed(value: ir.Value | None) -> float | None:
    """1 / sqrt(D) as torch's older exporter computes it, from the size of a head, which is known."""
    extents = extents_in(value)
    if extents is not None:
        return float(extents[0]) if len(extents) == 1 and isinstance(extents[0], int) else None
    node = producer(value, "Cast", "Sqrt", "Div")
    given = [] if node is None or rank(value) not in (0, 1) else [number(v, v) or _computed(v) for v in node.inputs]
    known = [one for one in given if one]
    if node is None or not known or len(known) != len(given):
        return None
    if node.op_type == "Div":
        return known[0] / known[1]
    return math.sqrt(known[0]) if node.op_type == "Sqrt" else known[0]


def _scale_behind(product: ir.Node) -> _Scale | None:
    follower = sole_consumer(product.outputs[0], "Mul", "Div")
    found = None if follower is None else _scale_of(follower.outputs[0])
    return found if found is not None and found.node.graph is product.graph else None


def _goes_into_softmax(scores: ir.Value) -> bool:
    """With at most the sum with a mask between."""
    addition = sole_consumer(scores, "Add")
    uses = scores.uses() if addition is None else addition.outputs[0].uses()
    names = {(use.node.domain, use.node.op_type) for use in uses}
    return bool(names) and names <= {("", "Softmax"), (DOMAIN, "MaskedSoftmax")}


def _check_dtype(value: ir.Value) -> None:
    if value.dtype not in _FULL:
        raise Declined("half precision scales query and key, against overflow")


def _fold(query: ir.Value, factor: float, through: ir.Node) -> None:
    """Scale the channels of the projection that the query, which only `through` reads, is made of."""
    product, chosen = channels_behind(query, through)
    vector = np.ones(channels_of(product)[0])
    vector[chosen] = factor
    scale(product, vector)


def _scaled_once(node: ir.Node, query: ir.Value, before: _Scale | None, beside: _Scale | None) -> ir.Value:
    """The query times the scales of both sides, by one Mul."""
    found = [scale for scale in (before, beside) if scale is not None]
    if not found:
        return query
    graph = node.graph
    assert isinstance(graph, ir.Graph) and query.dtype is not None
    factor = np.asarray(math.prod(scale.factor for scale in found), query.dtype.numpy())
    by = add_constant(found[0].by, factor, f"of_{node.name or node.outputs[0].name}")
    new = ir.Node("", "Mul", [query, by], name=f"{node.name}.scale")
    _like(new.outputs[0], query, f"{query.name}.scaled_for_{node.outputs[0].name}", query.shape)
    graph.insert_before(node, new)
    return new.outputs[0]


def _turned_from(value: ir.Value) -> ir.Value | None:
    """k, of which `value` is k' by Reshape to [-1, S, D], Transpose to [-1, D, S] and Reshape to [..., D, S]."""
    last = producer(value, "Reshape")
    turn = None if last is None else producer(last.inputs[0], "Transpose")
    first = None if turn is None else producer(turn.inputs[0], "Reshape")
    if last is None or turn is None or first is None or list(attribute(turn, "perm", [])) != [0, 2, 1]:
        return None
    (key, flat), result = first.inputs[:2], extents_in(last.inputs[1])
    sizes, between = None if key is None else extents_of(key), extents_in(flat)
    if sizes is None or between is None or result is None or len(between) != 3:
        return None
    *outer, rows, columns = sizes
    return key if between[1:] == [rows, columns] and result == [*outer, columns, rows] else None


def _swapped(key: ir.Value, turned: ir.Value, before: ir.Node) -> ir.Value:
    """k', by one Transpose."""
    graph = before.graph
    assert isinstance(graph, ir.Graph) and key.shape is not None
    axes = [*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2]
    new = ir.Node("", "Transpose", [key], [ir.AttrInt64s("perm", axes)], name=f"{before.name}.key")
    _like(new.outputs[0], key, f"{turned.name}.of_{before.outputs[0].name}", ir.Shape([key.shape[axis] for axis in axes]))
    graph.insert_before(before, new)
    return new.outputs[0]


def _like(value: ir.Value, other: ir.Value, name: str, shape: ir.Shape | None) -> None:
    value.name, value.type, value.shape = name, other.type, shape


def _read(node: ir.Node, index: int, value: ir.Value) -> None:
    """Let the node read the value; what computed the old one for it alone goes."""
    old = node.inputs[index]
    assert old is not None
    if old is not value:
        node.replace_input_with(index, value)
        remove_unread(old)
