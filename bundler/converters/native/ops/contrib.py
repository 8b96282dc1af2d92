"""ONNX Runtime's own operators (domain com.microsoft): activations and other small ones.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.delegate import MS, lower, sized_like
from bundler.converters.native.ops.half import in_single
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


@op("Gelu", layout=AxisPolicy.VALUES, domain=MS)
def gelu(ctx: Context, x: Value) -> Value:
    """Lower Gelu like ONNX's Gelu without approximation."""
    return sized_like(ctx, lower(ctx, "Gelu", x), x)


@op("FastGelu", layout=AxisPolicy.VALUES, domain=MS)
def fast_gelu(ctx: Context, x: Value, bias: Value | None = None) -> Value:
    """Lower FastGelu: GELU of x + bias, approximated by tanh."""
    total = x if bias is None else lower(ctx, "Add", x, bias)
    return sized_like(ctx, lower(ctx, "Gelu", total, approximate="tanh"), x)


@op("BiasGelu", layout=AxisPolicy.VALUES, domain=MS)
def bias_gelu(ctx: Context, x: Value, bias: Value) -> Value:
    """Lower BiasGelu: GELU of x + bias."""
    return sized_like(ctx, lower(ctx, "Gelu", lower(ctx, "Add", x, bias)), x)


@op("QuickGelu", layout=AxisPolicy.VALUES, domain=MS)
def quick_gelu(ctx: Context, x: Value, *, alpha: float = 1.702) -> Value:
    """Lower QuickGelu: x * sigmoid(alpha * x)."""
    return sized_like(ctx, lower(ctx, "Swish", x, alpha=alpha), x)


@op("BiasSplitGelu", domain=MS)
def bias_split_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Lower BiasSplitGelu: the first half of x + bias times the GELU of its second half, by the last axis."""
    first, second = tf.split(x + bias, 2, -1)
    return first * in_single(tf.nn.gelu)(second, approximate=False)


@op("BiasAdd", layout=AxisPolicy.VALUES, domain=MS)
def bias_add(ctx: Context, x: Value, bias: Value, skip: Value) -> Value:
    """Lower BiasAdd: x + bias + skip."""
    return sized_like(ctx, lower(ctx, "Add", lower(ctx, "Add", x, bias), skip), x)


@op("Inverse", domain=MS)
@in_single
def inverse(x: Tensor) -> Tensor:
    """Lower Inverse: the inverse of the matrices in the last two axes; half precision is computed in float32."""
    return tf.linalg.inv(x)


@op("CDist", domain=MS)
def cdist(a: Tensor, b: Tensor, *, metric: str = "sqeuclidean") -> Tensor:
    """Lower CDist: the distances [M, N] between the rows of a [M, K] and those of b [N, K]."""
    squares = tf.reduce_sum(tf.math.squared_difference(a[:, None], b[None]), -1)
    return tf.sqrt(squares) if metric == "euclidean" else squares


@op("GatherND", layout=AxisPolicy.VALUES, domain=MS)
def gather_nd(ctx: Context, data: Value, indices: Value) -> Value:
    """Lower GatherND like ONNX's operator."""
    return lower(ctx, "GatherND", data, indices)


@op("Pad", layout=AxisPolicy.VALUES, domain=MS)
def pad(ctx: Context, data: Value, pads: Value, value: Value | None = None, *, mode: str = "constant") -> Value:
    """Lower Pad like ONNX's operator."""
    return lower(ctx, "Pad", data, pads, value, mode=mode)


@op("Trilu", layout=AxisPolicy.VALUES, domain=MS)
def trilu(ctx: Context, x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    """Lower Trilu like ONNX's operator."""
    return sized_like(ctx, lower(ctx, "Trilu", x, k, upper=upper), x)
