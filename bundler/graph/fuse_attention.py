"""Folds the scale of attention into the projection of the query, and transposes the key once.

    (s q) @ (t k'),  q @ k' * s,  q @ k' / s,  Attention(q, k, v, scale=s)        s, t numbers

1. The node is an Attention, or a MatMul of two computed values of rank 3 or more whose result reaches a Softmax with at most a
   scale and a mask in between. It computes in float32 or float64; half precision scales both sides to avoid overflow.
2. A key that torch.onnx transposes by Reshape, Transpose and Reshape, all with its own sizes, is read through one Transpose,
   which the product does for free. torch.onnx writes this in every attention below opset 23.
3. If the query comes from a product with constant weights through Reshape, Transpose, Squeeze, Slice, Split and Gather, and
   nothing else reads these channels, the product's weights and bias absorb the whole scale.
4. Otherwise the scales of query and key become one on the query; a single scale stays where it is.

TensorFlow has no operator for attention on CPU: two products, a Softmax and the sum with the mask are the minimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bundler.graph.channel_paths import source_channels
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

_FULL_PRECISION = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class FuseAttention(Fusion):
    """Requires ranks, FuseLinear, FuseMaskedSoftmax; makes q @ k' without a separate scale, and k' one Transpose of k."""

    roots = ("MatMul", "Attention")

    def fuse(self, node: ir.Node) -> bool:
        """Fold the scale of an Attention, or of a MatMul that computes the scores of attention."""
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
            raise Declined("The size of a head must be known.")
        factor = 1 / math.sqrt(width // heads)
    _fold(query, float(factor), node)
    node.attributes["scale"] = ir.AttrFloat32("scale", 1.0)
    return True


def _product(node: ir.Node) -> bool:
    if any(value is None or value.const_value is not None or (rank(value) or 0) < 3 for value in node.inputs):
        return False
    score_scale = _score_scale(node)
    if not _reaches_softmax(node.outputs[0] if score_scale is None else score_scale.node.outputs[0]):
        return False
    query, key = (value for value in node.inputs if value is not None)
    query_scale, key_scale = _scale_of(query), _scale_of(key)
    transposed_key = key if key_scale is None else key_scale.value
    key_source = _transposed_from(transposed_key)
    scales = [scale for scale in (query_scale, key_scale, score_scale) if scale is not None]
    if key_source is None and not scales:
        return False
    _check_dtype(query)
    if scales:
        query = query if query_scale is None else query_scale.value
        reader = node if query_scale is None else query_scale.node
        try:
            _fold(query, math.prod(scale.factor for scale in scales), reader)
        except Declined:
            if key_source is None and (query_scale is None or key_scale is None):
                raise
            query, score_scale = _scaled_once(node, query, query_scale, key_scale), None
    _set_input(node, 0, query)
    _set_input(node, 1, transposed_key if key_source is None else _transposed(key_source, transposed_key, node))
    if score_scale is not None:
        take_over(node, score_scale.node)
    return True


@dataclass(frozen=True)
class _Scale:
    """A node that multiplies `value` by the number `factor`, which it reads or computes from the value `operand`."""

    node: ir.Node
    value: ir.Value
    operand: ir.Value
    factor: float


def _scale_of(value: ir.Value) -> _Scale | None:
    node = producer(value, "Mul", "Div")
    if node is None:
        return None
    first, second = node.inputs
    for data, operand in ((first, second), (second, first))[: 1 if node.op_type == "Div" else 2]:
        factor = number(operand, data) or _computed(operand)
        if data is not None and operand is not None and factor and data.const_value is None:
            return _Scale(node, data, operand, 1 / factor if node.op_type == "Div" else factor)
    return None


def _computed(value: ir.Value | None) -> float | None:
    """Return 1 / sqrt(D) as torch's older exporter computes it from the known size D of a head, or None."""
    extents = extents_in(value)
    if extents is not None:
        return float(extents[0]) if len(extents) == 1 and isinstance(extents[0], int) else None
    node = producer(value, "Cast", "Sqrt", "Div")
    operands = [] if node is None or rank(value) not in (0, 1) else [number(v, v) or _computed(v) for v in node.inputs]
    known = [operand for operand in operands if operand]
    if node is None or not known or len(known) != len(operands):
        return None
    if node.op_type == "Div":
        return known[0] / known[1]
    return math.sqrt(known[0]) if node.op_type == "Sqrt" else known[0]


def _score_scale(product: ir.Node) -> _Scale | None:
    follower = sole_consumer(product.outputs[0], "Mul", "Div")
    scale = None if follower is None else _scale_of(follower.outputs[0])
    return scale if scale is not None and scale.node.graph is product.graph else None


def _reaches_softmax(scores: ir.Value) -> bool:
    """Return True if a Softmax reads the scores, or their sum with a mask, and nothing else does."""
    addition = sole_consumer(scores, "Add")
    uses = scores.uses() if addition is None else addition.outputs[0].uses()
    names = {(use.node.domain, use.node.op_type) for use in uses}
    return bool(names) and names <= {("", "Softmax"), (DOMAIN, "MaskedSoftmax")}


def _check_dtype(value: ir.Value) -> None:
    if value.dtype not in _FULL_PRECISION:
        raise Declined("Half precision must keep the scales of query and key, to avoid overflow.")


def _fold(query: ir.Value, factor: float, reader: ir.Node) -> None:
    """Scale the channels of the projection that the query, which only `reader` reads, consists of."""
    product, channels = source_channels(query, reader)
    vector = np.ones(channels_of(product)[0])
    vector[channels] = factor
    scale(product, vector)


def _scaled_once(node: ir.Node, query: ir.Value, query_scale: _Scale | None, key_scale: _Scale | None) -> ir.Value:
    """Return the query multiplied by the scales of both sides, by one Mul."""
    scales = [scale for scale in (query_scale, key_scale) if scale is not None]
    if not scales:
        return query
    graph = node.graph
    assert isinstance(graph, ir.Graph) and query.dtype is not None
    factor = np.asarray(math.prod(scale.factor for scale in scales), query.dtype.numpy())
    operand = add_constant(scales[0].operand, factor, f"of_{node.name or node.outputs[0].name}")
    new = ir.Node("", "Mul", [query, operand], name=f"{node.name}.scale")
    _describe(new.outputs[0], query, f"{query.name}.scaled_for_{node.outputs[0].name}", query.shape)
    graph.insert_before(node, new)
    return new.outputs[0]


def _transposed_from(value: ir.Value) -> ir.Value | None:
    """Return k if `value` is k' by Reshape to [-1, S, D], Transpose to [-1, D, S] and Reshape to [..., D, S]."""
    last = producer(value, "Reshape")
    transpose = None if last is None else producer(last.inputs[0], "Transpose")
    first = None if transpose is None else producer(transpose.inputs[0], "Reshape")
    if last is None or transpose is None or first is None or list(attribute(transpose, "perm", [])) != [0, 2, 1]:
        return None
    (key, flat), result = first.inputs[:2], extents_in(last.inputs[1])
    sizes, flat_sizes = None if key is None else extents_of(key), extents_in(flat)
    if sizes is None or flat_sizes is None or result is None or len(flat_sizes) != 3:
        return None
    *outer, rows, columns = sizes
    return key if flat_sizes[1:] == [rows, columns] and result == [*outer, columns, rows] else None


def _transposed(key: ir.Value, old: ir.Value, product: ir.Node) -> ir.Value:
    """Return k' by one Transpose, inserted before the product in place of `old`."""
    graph = product.graph
    assert isinstance(graph, ir.Graph) and key.shape is not None
    axes = [*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2]
    new = ir.Node("", "Transpose", [key], [ir.AttrInt64s("perm", axes)], name=f"{product.name}.key")
    _describe(new.outputs[0], key, f"{old.name}.of_{product.outputs[0].name}", ir.Shape([key.shape[axis] for axis in axes]))
    graph.insert_before(product, new)
    return new.outputs[0]


def _describe(value: ir.Value, source: ir.Value, name: str, shape: ir.Shape | None) -> None:
    value.name, value.type, value.shape = name, source.type, shape


def _set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    """Replace an input of a node, and remove the nodes that computed the old one for this node alone."""
    old = node.inputs[index]
    assert old is not None
    if old is not value:
        node.replace_input_with(index, value)
        remove_unread(old)
