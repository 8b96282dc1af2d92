"""Fuses the formula of LayerNormalization: (x - mean(x)) / √(mean((x - mean(x))²) + epsilon) * scale + bias.

1. The square is a Pow or a Mul, the root a Sqrt or a Pow, and the division a Div or a Mul by a reciprocal.
2. Both means are over the same last axes and keep them; epsilon is a constant.
3. A constant of the shape of these axes scales the result; another one may shift it.
4. A cast to float32 before it and one back before the scale are fused too (stash_type). With any other cast the formula is left
   alone, since the operator would compute in another precision.
5. Nothing else reads intermediate results, and all nodes are in one graph.

PyTorch's exporter writes the formula up to opset 16. https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, producer, replace
from bundler.graph.root_mean import affine, fused, last_axes, normalized


class FuseLayerNorm(Fusion):
    """Requires constants as initializers, shapes and dtypes; makes LayerNormalization."""

    roots = ("ReduceMean",)

    def fuse(self, node: ir.Node) -> bool:
        """Fuse the formula around the second of its two means."""
        pattern = normalized(node)
        centred = None if pattern is None else producer(pattern.data, "Sub")
        mean = None if centred is None else producer(centred.inputs[1], "ReduceMean")
        if pattern is None or centred is None or mean is None or mean.inputs[0] is None:
            return False
        x = centred.inputs[0]
        if x is None or mean.inputs[0] is not x:
            return False
        if last_axes(mean) != pattern.count:
            raise Declined("Both means must be over the same axes.")
        parts = affine(pattern, x, with_bias=True)
        cast = [] if parts.x is x else [producer(x, "Cast")]
        nodes = [n for n in [*cast, mean, centred, *pattern.nodes, *parts.nodes] if n is not None]
        replace(nodes, fused("LayerNormalization", pattern, parts, nodes))
        return True
