"""A convolution or a product with constant weights, multiplied by a constant of each of its channels, takes it into its weights.

1. The node is a Conv, a tfbundle::Linear or a MatMul, and its weight, and its bias if it has one, are constants.
2. Nothing but the Mul reads its result.
3. The Mul's other factor is a constant with one number, or with one for each channel of the result and 1 on every other axis.

The layer scale of ConvNeXt, CaiT and BEiT is such a factor. Without it the sum that follows stands right behind the product, and
TensorFlow fuses the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, constant, other_operand, rank

Array = npt.NDArray[Any]
_PRODUCTS = {("", "Conv"), ("", "MatMul"), ("tfbundle", "Linear")}


class FoldScale(Fusion):
    """Needs: constants as initializers, FuseLinear. Gives: no Mul by channel behind a Conv, Linear or MatMul."""

    roots = ("Mul",)

    def fuse(self, node: ir.Node) -> bool:
        producers = (None if value is None else value.producer() for value in node.inputs)
        product = next((p for p in producers if p is not None and _is_product(p)), None)
        if product is None:
            return False
        factor = constant(other_operand(node, product.outputs[0]))
        if factor is None or factor.dtype.kind != "f":
            return False
        result = product.outputs[0]
        if len(result.uses()) != 1 or result.is_graph_output() or product.graph is not node.graph:
            raise Declined("other nodes read the result as well")
        _fold(product, node, factor)
        return True


def _is_product(node: ir.Node) -> bool:
    constants = all(v is None or constant(v) is not None for v in node.inputs[1:])
    return (node.domain, node.op_type) in _PRODUCTS and constants and len(node.inputs) > 1


def _fold(product: ir.Node, mul: ir.Node, factor: Array) -> None:
    weight = constant(product.inputs[1])
    assert weight is not None
    by_filter = product.op_type == "Conv"
    channels = weight.shape[0 if by_filter else -1]
    vector = _by_channel(factor, channels, 1 if by_filter else -1, rank(product.outputs[0]))
    if vector is None or weight.ndim < 2 or vector.dtype != weight.dtype:
        raise Declined("the factor is not one of each channel")
    scaled = weight * (vector.reshape(-1, *[1] * (weight.ndim - 1)) if by_filter else vector)
    _replace_constant(product, 1, scaled)
    bias = constant(product.inputs[2]) if len(product.inputs) > 2 else None
    if bias is not None:
        _replace_constant(product, 2, bias * vector)
    _take_over(product, mul)


def _by_channel(factor: Array, channels: int, axis: int, of_rank: int | None) -> Array | None:
    """The factor as a vector [channels], or None where it differs along another axis too."""
    if factor.size == 1 and of_rank is not None and factor.ndim <= of_rank:
        return np.broadcast_to(factor.reshape(1), (channels,))
    if of_rank is None or factor.ndim > of_rank or factor.size != channels:
        return None
    shape = (1,) * (of_rank - factor.ndim) + factor.shape
    return factor.reshape(-1) if shape[axis] == channels else None


def _replace_constant(node: ir.Node, index: int, array: Array) -> None:
    old = node.inputs[index]
    assert old is not None and isinstance(node.graph, ir.Graph)
    name = f"{old.name}.scaled_by_{node.name or node.outputs[0].name}"
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape, value.type = ir.Shape(array.shape), old.type
    node.graph.register_initializer(value)
    node.replace_input_with(index, value)


def _take_over(product: ir.Node, mul: ir.Node) -> None:
    """The product's result stands for the Mul's, under its name."""
    result, old = product.outputs[0], mul.outputs[0]
    graph = mul.graph
    assert isinstance(graph, ir.Graph)
    result.name, result.shape, result.type = old.name, old.shape, old.type
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(mul, safe=True)
