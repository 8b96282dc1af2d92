"""QuantizeLinear, followed by DequantizeLinear, becomes one `tfbundle::FakeQuantize`: what a quantized model does between layers.

1. Scale and zero point are constants, the same in both, one number each.
2. The steps are int8 or uint8.

Such an operator may work on the data in any order of axes, and TFLite's converter makes integer kernels of what is between two.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, attribute, constant, producer, replace


class FuseFakeQuantize(Fusion):
    """Gives: `tfbundle::FakeQuantize(x, scale, zero_point)`."""

    roots = ("DequantizeLinear",)

    def fuse(self, node: ir.Node) -> bool:
        quantize = producer(node.inputs[0], "QuantizeLinear")
        if quantize is None:
            return False
        if quantize.graph is not node.graph:
            raise Declined("the two stand in different graphs")
        for place, name in ((1, "scale"), (2, "zero point")):
            first, second = (constant(n.inputs[place]) if place < len(n.inputs) else None for n in (quantize, node))
            if first is None or second is None:
                raise Declined(f"a {name} is not given as a constant")
            if first.size != 1 or first.dtype != second.dtype or not np.array_equal(first.reshape(-1), second.reshape(-1)):
                raise Declined(f"the two have no single, common {name}")
        zero = constant(node.inputs[2])
        if zero is None or zero.dtype not in (np.int8, np.uint8):
            raise Declined("the steps are neither int8 nor uint8")
        if attribute(node, "output_dtype", 0) or constant(node.inputs[1]).dtype != np.float32:  # type: ignore[union-attr]
            raise Declined("the numbers are not float32")
        fake = ir.Node(DOMAIN, "FakeQuantize", [quantize.inputs[0], node.inputs[1], node.inputs[2]], name=node.name)
        replace([quantize, node], fake)
        return True
