"""ONNX Runtime's own operators (com.microsoft): activations and small ones."""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.delegate import MS, lower, sized_like
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.value import Tensor, Value


@op("Gelu", layout=AxisPolicy.VALUES, domain=MS)
def gelu(ctx: Context, x: Value) -> Value:
    return sized_like(ctx, lower(ctx, "Gelu", x), x)


@op("FastGelu", layout=AxisPolicy.VALUES, domain=MS)
def fast_gelu(ctx: Context, x: Value, bias: Value | None = None) -> Value:
    """By tanh."""
    total = x if bias is None else lower(ctx, "Add", x, bias)
    return sized_like(ctx, lower(ctx, "Gelu", total, approximate="tanh"), x)


@op("BiasGelu", layout=AxisPolicy.VALUES, domain=MS)
def bias_gelu(ctx: Context, x: Value, bias: Value) -> Value:
    return sized_like(ctx, lower(ctx, "Gelu", lower(ctx, "Add", x, bias)), x)


@op("QuickGelu", layout=AxisPolicy.VALUES, domain=MS)
def quick_gelu(ctx: Context, x: Value, *, alpha: float = 1.702) -> Value:
    """x * sigmoid(alpha * x)."""
    return sized_like(ctx, lower(ctx, "Swish", x, alpha=alpha), x)


@op("BiasSplitGelu", domain=MS)
def bias_split_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Of x + bias, the first half times the GELU of the second."""
    first, second = tf.split(x + bias, 2, -1)
    return first * tf.nn.gelu(second, approximate=False)


@op("BiasAdd", layout=AxisPolicy.VALUES, domain=MS)
def bias_add(ctx: Context, x: Value, bias: Value, skip: Value) -> Value:
    return sized_like(ctx, lower(ctx, "Add", lower(ctx, "Add", x, bias), skip), x)


@op("Inverse", domain=MS)
def inverse(x: Tensor) -> Tensor:
    """Of the matrices in the last two axes."""
    return tf.cast(tf.linalg.inv(tf.cast(x, tf.float32) if x.dtype.size < 4 else x), x.dtype)


@op("CDist", domain=MS)
def cdist(a: Tensor, b: Tensor, *, metric: str = "sqeuclidean") -> Tensor:
    """The distance of each row of a [M, K] from each of b [N, K]."""
    squares = tf.reduce_sum(tf.math.squared_difference(a[:, None], b[None]), -1)
    return tf.sqrt(squares) if metric == "euclidean" else squares


@op("GatherND", layout=AxisPolicy.VALUES, domain=MS)
def gather_nd(ctx: Context, data: Value, indices: Value) -> Value:
    return lower(ctx, "GatherND", data, indices)


@op("Pad", layout=AxisPolicy.VALUES, domain=MS)
def pad(ctx: Context, data: Value, pads: Value, value: Value | None = None, *, mode: str = "constant") -> Value:
    return lower(ctx, "Pad", data, pads, value, mode=mode)


@op("Trilu", layout=AxisPolicy.VALUES, domain=MS)
def trilu(ctx: Context, x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    return sized_like(ctx, lower(ctx, "Trilu", x, k, upper=upper), x)
