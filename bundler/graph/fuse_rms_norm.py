"""Fuses the formula of RMSNormalization: x / √(mean(x²) + epsilon) * scale.

1. The square is a Pow or a Mul, the root a Sqrt or a Pow, and the division a Div or a Mul by a reciprocal.
2. The mean is over the last axes and keeps them; epsilon is a constant.
3. A constant of the shape of these axes scales the result.
4. A cast to float32 before it and one back before the scale are fused too (stash_type). With any other cast the formula is left
   alone, since the operator would compute in another precision.
5. Nothing else reads intermediate results, and all nodes are in one graph.
6. x is not centred by its mean: that would be LayerNormalization (`fuse_layer_norm`).

The operator exists from opset 23 on; older exports have the formula. https://onnx.ai/onnx/operators/onnx__RMSNormalization.html
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Fusion, producer, replace
from bundler.graph.root_mean import affine, fused, normalized


class FuseRMSNorm(Fusion):
    """Requires constants as initializers, shapes and dtypes, FuseLayerNorm; makes RMSNormalization."""

    roots = ("ReduceMean",)

    def fuse(self, node: ir.Node) -> bool:
        """Fuse the formula around its mean."""
        pattern = normalized(node)
        if pattern is None or _is_centred(pattern.data):
            return False
        parts = affine(pattern, pattern.data, with_bias=False)
        cast = [] if parts.x is pattern.data else [producer(pattern.data, "Cast")]
        nodes = [n for n in [*cast, *pattern.nodes, *parts.nodes] if n is not None]
        replace(nodes, fused("RMSNormalization", pattern, parts, nodes))
        return True


def _is_centred(data: ir.Value) -> bool:
    sub = producer(data, "Sub")
    return sub is not None and producer(sub.inputs[1], "ReduceMean") is not None
