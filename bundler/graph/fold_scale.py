"""Folds a constant factor per channel into the weights of the convolution or product that it multiplies.

1. The product is a Conv, ConvTranspose, Gemm, MatMul or tfbundle::Linear whose weight, and bias if it has one, are constants.
2. The Mul is the only reader of its result.
3. The other operand of the Mul is a constant with one number, or with one per channel of the result and 1 on every other axis.

The layer scale of ConvNeXt, CaiT and BEiT is such a factor. Without it, the sum that follows comes right after the product, and
TensorFlow fuses the two.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, constant, other_operand, rank
from bundler.graph.scaled_weights import by_channel, channels_of, check_sole_reader, is_product, scale, take_over


class FoldScale(Fusion):
    """Requires constants as initializers, FuseLinear; leaves no Mul by channel after a Conv, Linear or MatMul."""

    roots = ("Mul",)

    def fuse(self, node: ir.Node) -> bool:
        """Fold a Mul into the product whose result it multiplies."""
        producers = (None if value is None else value.producer() for value in node.inputs)
        product = next((p for p in producers if p is not None and is_product(p)), None)
        if product is None:
            return False
        factor = constant(other_operand(node, product.outputs[0]))
        if factor is None or factor.dtype.kind != "f":
            return False
        check_sole_reader(product, node)
        channels, axis = channels_of(product)
        vector = by_channel(factor, channels, axis, rank(product.outputs[0]))
        if vector is None:
            raise Declined("The factor must be one number, or one per channel.")
        scale(product, vector)
        take_over(product, node)
        return True
