"""Fuses QuantizeLinear and DequantizeLinear, which a quantized model has between layers, into `tfbundle::FakeQuantize`.

1. Scale and zero point are constants, the same in both, one number each.
2. The quantized type is int8 or uint8.

The fused operator works on any order of axes, and TFLite's converter turns the layer between two of them into an integer kernel.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, attribute, constant, producer, replace


class FuseFakeQuantize(Fusion):
    """Requires constants as initializers; makes `tfbundle::FakeQuantize(x, scale, zero_point)`."""

    roots = ("DequantizeLinear",)

    def fuse(self, node: ir.Node) -> bool:
        """Fuse a DequantizeLinear with the QuantizeLinear before it."""
        quantize = producer(node.inputs[0], "QuantizeLinear")
        if quantize is None:
            return False
        if quantize.graph is not node.graph:
            raise Declined("QuantizeLinear and DequantizeLinear must be in the same graph.")
        for place, name in ((1, "scale"), (2, "zero point")):
            first, second = (constant(n.inputs[place]) if place < len(n.inputs) else None for n in (quantize, node))
            if first is None or second is None:
                raise Declined(f"The {name} must be constant.")
            if first.size != 1 or first.dtype != second.dtype or not np.array_equal(first.reshape(-1), second.reshape(-1)):
                raise Declined(f"QuantizeLinear and DequantizeLinear must have the same {name}, a single number.")
        zero = constant(node.inputs[2])
        if zero is None or zero.dtype not in (np.int8, np.uint8):
            raise Declined("The quantized type must be int8 or uint8.")
        if attribute(node, "output_dtype", 0) or constant(node.inputs[1]).dtype != np.float32:  # type: ignore[union-attr]
            raise Declined("The values must be float32.")
        fake = ir.Node(DOMAIN, "FakeQuantize", [quantize.inputs[0], node.inputs[1], node.inputs[2]], name=node.name)
        replace([quantize, node], fake)
        return True
