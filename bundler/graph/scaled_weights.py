"""Multiplies and shifts the result of a convolution or product by channel, by changing its constant weights and bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, add_constant, attribute, constant
from bundler.values.arrays import Array

_PRODUCTS = {("", "Conv"), ("", "ConvTranspose"), ("", "Gemm"), ("", "MatMul"), ("tfbundle", "Linear")}


def is_product(node: ir.Node | None) -> bool:
    """Return True for a Conv, ConvTranspose, Gemm, MatMul or Linear whose weight, and bias if it has one, are constants."""
    if node is None or (node.domain, node.op_type) not in _PRODUCTS or len(node.inputs) < 2:
        return False
    weight = constant(node.inputs[1])
    return weight is not None and weight.ndim > 1 and all(v is None or constant(v) is not None for v in node.inputs[2:])


def channels_of(node: ir.Node) -> tuple[int, int]:
    """Return the number of channels of a product's result, and the axis of the result that they are on."""
    shape = _weight(node).shape
    if node.op_type == "Conv":
        return shape[0], 1
    if node.op_type == "ConvTranspose":
        return shape[1] * attribute(node, "group", 1), 1
    return shape[0 if attribute(node, "transB", 0) else -1], -1


def check_sole_reader(product: ir.Node, follower: ir.Node) -> None:
    """Raise if the follower is not the only reader of the product, in the same graph.

    Raises:
        Declined: other nodes read the product as well, or the follower is in another graph.
    """
    result = product.outputs[0]
    if len(result.uses()) != 1 or result.is_graph_output() or product.graph is not follower.graph:
        raise Declined("Other nodes must not read the result of the product.")


def scale(product: ir.Node, factor: Array, offset: Array | None = None) -> None:
    """Make the product compute `result * factor + offset`, in place.

    Args:
        product: a node for which `is_product` is true.
        factor: [channels].
        offset: [channels], or None.

    Raises:
        Declined: the product has no bias that can absorb the offset.
    """
    weight, bias = _weight(product), constant(product.inputs[2]) if len(product.inputs) > 2 else None
    if offset is not None and product.op_type == "MatMul" and weight.ndim != 2:
        raise Declined("The weight of MatMul must be a matrix, so that a bias can absorb the offset.")
    if offset is not None and attribute(product, "beta", 1.0) != 1.0:
        raise Declined("The factor of the bias (beta) must be 1.")
    replace_constant(product, 1, _scaled(product, weight, factor).astype(weight.dtype))
    if bias is not None or offset is not None:
        shifted = (0 if bias is None else bias * factor) + (0 if offset is None else offset)
        set_bias(product, np.asarray(shifted, weight.dtype))


def _weight(node: ir.Node) -> Array:
    weight = constant(node.inputs[1])
    assert weight is not None
    return weight


def _scaled(product: ir.Node, weight: Array, factor: Array) -> Array:
    if product.op_type == "Conv" or attribute(product, "transB", 0):
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    if product.op_type != "ConvTranspose":
        return weight * factor
    groups = attribute(product, "group", 1)
    by_group = weight.reshape(groups, -1, *weight.shape[1:])  # [groups, inputs per group, outputs per group, …]
    return (by_group * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)


def replace_constant(node: ir.Node, index: int, array: Array) -> None:
    """Replace a constant input of a node; other readers of the old constant keep it."""
    old = node.inputs[index]
    assert old is not None
    node.replace_input_with(index, add_constant(old, array, f"scaled_by_{node.name or node.outputs[0].name}"))


def set_bias(product: ir.Node, bias: Array) -> None:
    """Set the third input of a product; a MatMul, which has none, becomes a tfbundle::Linear."""
    if product.op_type == "MatMul":
        product.domain, product.op_type = DOMAIN, "Linear"
    weight = product.inputs[1]
    assert weight is not None
    new = add_constant(weight, bias, f"bias_of_{product.name or product.outputs[0].name}")
    product.resize_inputs(max(len(product.inputs), 3))
    product.replace_input_with(2, new)


def by_channel(factor: Array, channels: int, axis: int, result_rank: int | None) -> Array | None:
    """Return the factor of a result as a vector [channels], or None if it varies along another axis too.

    Args:
        factor: the factor, which is broadcast to the result.
        channels: the number of channels of the result.
        axis: the axis of the result that the channels are on.
        result_rank: the rank of the result, or None if it is unknown.
    """
    if factor.size == 1 and result_rank is not None and factor.ndim <= result_rank:
        return np.broadcast_to(factor.reshape(1), (channels,))
    if result_rank is None or factor.ndim > result_rank or factor.size != channels:
        return None
    shape = (1,) * (result_rank - factor.ndim) + factor.shape
    return factor.reshape(-1) if shape[axis] == channels else None


def take_over(product: ir.Node, follower: ir.Node) -> None:
    """Remove the follower, and give the product's result its name and its readers."""
    result, old = product.outputs[0], follower.outputs[0]
    graph = follower.graph
    assert isinstance(graph, ir.Graph)
    result.name, result.shape, result.type = old.name, old.shape, old.type
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(follower, safe=True)
