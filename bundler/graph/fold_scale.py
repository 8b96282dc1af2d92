"""A convolution or a product with constant weights, multiplied by a constant of each of its channels, takes it into its weights.

1. The node is a Conv, ConvTranspose, Gemm, MatMul or tfbundle::Linear, and its weight, and its bias if it has one, are constants.
2. Nothing but the Mul reads its result.
3. The Mul's other factor is a constant with one number, or with one for each channel of the result and 1 on every other axis.

The layer scale of ConvNeXt, CaiT and BEiT is such a factor. Without it the sum that follows stands right behind the product, and
TensorFlow fuses the two.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, constant, other_operand, rank
from bundler.graph.scaled_weights import by_channel, channels_of, check_alone, is_product, scale, take_over


class FoldScale(Fusion):
    """Needs: constants as initializers, FuseLinear. Gives: no Mul by channel behind a Conv, Linear or MatMul."""

    roots = ("Mul",)

    def fuse(self, node: ir.Node) -> bool:
        producers = (None if value is None else value.producer() for value in node.inputs)
        product = next((p for p in producers if p is not None and is_product(p)), None)
        if product is None:
            return False
        factor = constant(other_operand(node, product.outputs[0]))
        if factor is None or factor.dtype.kind != "f":
            return False
        check_alone(product, node)
        channels, axis = channels_of(product)
        vector = by_channel(factor, channels, axis, rank(product.outputs[0]))
        if vector is None:
            raise Declined("the factor is not one of each channel")
        scale(product, vector)
        take_over(product, node)
        return True
