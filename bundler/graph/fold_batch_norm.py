"""Folds a BatchNormalization after or before a convolution or a product into the weights of the latter.

    after:   norm(conv(x, w) + b)      = conv(x, w f) + b f + o
    before:  conv(norm(x), w) + b      = conv(x, w f') + b + Σ w o'        with norm(x) = x f + o

1. Its scale, bias, mean and variance are constants, it is not in training mode, and only its first output is read.
2. After: its input is a Conv, ConvTranspose, Gemm or tfbundle::Linear with constant weights, which nothing else reads.
3. Before: its only reader is a Conv with a constant weight and one group. The Conv has no padding, which would consist of zeros
   of the normalized image, not of x.

Weights of half precision stay as they are: the rounding of the scaled ones is the same for all data, and adds up.

PyTorch's exporter folds most of those after a convolution itself; other exporters, and training graphs set to inference, do not.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, attribute, constant, sole_consumer
from bundler.graph.scaled_weights import (
    channels_of,
    check_sole_reader,
    is_product,
    replace_constant,
    scale,
    set_bias,
    take_over,
)
from bundler.values.arrays import Array


class FoldBatchNorm(Fusion):
    """Requires constants as initializers, FuseLinear; leaves no BatchNormalization next to a product that can absorb it."""

    roots = ("BatchNormalization",)

    def fuse(self, node: ir.Node) -> bool:
        """Fold a BatchNormalization into the product before it, or else into the convolution after it."""
        product = node.inputs[0].producer() if node.inputs[0] is not None else None
        after_product = product is not None and is_product(product)
        conv = sole_consumer(node.outputs[0], "Conv")
        before_conv = conv is not None and conv.graph is node.graph and conv.inputs[0] is node.outputs[0]
        if not after_product and not before_conv:
            return False
        factor, offset = _factor_and_offset(node)
        if after_product and product is not None:
            _fold_into_product(product, node, factor, offset)
        elif conv is not None:
            _fold_into_conv(node, conv, factor, offset)
        return True


def _factor_and_offset(norm: ir.Node) -> tuple[Array, Array]:
    """Return float64 arrays [channels] with norm(x) = x * factor + offset."""
    arrays = [constant(value) for value in norm.inputs[1:5]]
    if attribute(norm, "training_mode", 0) or any(output.uses() for output in norm.outputs[1:]):
        raise Declined("BatchNormalization must not be in training mode.")
    if len(arrays) != 4 or any(array is None for array in arrays):
        raise Declined("The parameters of BatchNormalization must be constant.")
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return factor, beta - mean * factor


def _fold_into_product(product: ir.Node, norm: ir.Node, factor: Array, offset: Array) -> None:
    check_sole_reader(product, norm)
    _check_precision(product)
    if channels_of(product)[0] != factor.size or (product.op_type in ("MatMul", "Linear") and not _is_matrix(norm)):
        raise Declined("BatchNormalization must normalize the channels of the product.")
    scale(product, factor, offset)
    take_over(product, norm)


def _check_precision(product: ir.Node) -> None:
    weight = constant(product.inputs[1])
    if weight is not None and weight.dtype.itemsize < 4:
        raise Declined("Weights of half precision would be rounded again.")


def _is_matrix(norm: ir.Node) -> bool:
    x = norm.inputs[0]
    return x is not None and x.shape is not None and len(x.shape) == 2


def _fold_into_conv(norm: ir.Node, conv: ir.Node, factor: Array, offset: Array) -> None:
    if not is_product(conv) or attribute(conv, "group", 1) != 1:
        raise Declined("The following convolution must have constant weights and one group.")
    if any(attribute(conv, "pads", ())) or attribute(conv, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Declined("The following convolution must not have padding.")
    _check_precision(conv)
    weight = constant(conv.inputs[1])
    assert weight is not None
    shape = (1, -1, *[1] * (weight.ndim - 2))
    shift = (weight * offset.reshape(shape)).sum(tuple(range(1, weight.ndim)))
    bias = constant(conv.inputs[2]) if len(conv.inputs) > 2 else None
    set_bias(conv, (shift if bias is None else shift + bias).astype(weight.dtype))
    replace_constant(conv, 1, (weight * factor.reshape(shape)).astype(weight.dtype))
    x, graph = norm.inputs[0], norm.graph
    assert x is not None and graph is not None
    conv.replace_input_with(0, x)
    graph.remove(norm, safe=True)
