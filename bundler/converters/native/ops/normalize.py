"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native.lowering import Context
from bundler.converters.native.registry import Layout, op
from bundler.converters.native.shapes import tensor_shape
from bundler.converters.native.value import Order, Tensor, Value, channels_last


@op("Softmax", layout=Layout.AXIS, since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    if x.dtype in (tf.float16, tf.bfloat16):
        powers = tf.exp(x - tf.reduce_max(x, axis, keepdims=True))
        return powers / tf.cast(tf.reduce_sum(tf.cast(powers, tf.float32), axis, keepdims=True), x.dtype)
    return tf.nn.softmax(x, axis)


@op("LogSoftmax", layout=Layout.AXIS, since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return tf.cast(tf.nn.log_softmax(_single(x), axis), x.dtype)


def _single(x: Tensor) -> Tensor:
    """Half precision as float32, in which TensorFlow's sums lose nothing."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x


@op("Hardmax", layout=Layout.AXIS, since=13)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return tf.one_hot(tf.argmax(x, axis), x.shape[axis] or tf.shape(x)[axis], axis=axis, dtype=x.dtype)


@op("LayerNormalization")
def layer_normalization(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance in float32 (stash_type 1), whatever x is."""
    axes = list(range(axis % x.shape.rank, x.shape.rank))
    data = tf.cast(x, tf.float32) if stash_type == 1 else x
    mean = tf.reduce_mean(data, axes, keepdims=True)
    centred = data - mean
    variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    inverse = tf.math.rsqrt(variance + epsilon)
    result = tf.cast(centred * inverse, x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


@op("RMSNormalization")
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    axes = list(range(axis % x.shape.rank, x.shape.rank))
    data = tf.cast(x, tf.float32) if stash_type == 1 else x
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(data), axes, keepdims=True) + epsilon)
    return tf.cast(data * inverse, x.dtype) * scale


@op("BatchNormalization", layout=Layout.VALUES)
def batch_normalization(
    ctx: Context,
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Value | list[Value]:
    """Folded at build time into one multiplication and one addition by channel."""
    order = x.order if x.order is not None and x.order[-1] == 1 else channels_last(len(x.shape))
    data = x.in_order(order)
    if training_mode:
        return _with_batch_statistics(ctx, data, order, (scale, bias, mean, variance), epsilon, momentum)
    arrays = [v.array for v in (scale, bias, mean, variance)]
    if any(a is None for a in arrays):
        normal = tf.nn.batch_normalization(data, mean.tensor, variance.tensor, bias.tensor, scale.tensor, epsilon)
        return ctx.value(tf.cast(normal, data.dtype), order)
    gamma, beta, center, spread = (np.asarray(a, np.float64) for a in arrays)
    factor = gamma / np.sqrt(spread + epsilon)
    offset = beta - center * factor
    dtype = data.dtype.as_numpy_dtype
    scaled = data * ctx.weight(factor.astype(dtype))
    return ctx.value(tf.nn.bias_add(scaled, ctx.weight(offset.astype(dtype))), order)


def _with_batch_statistics(
    ctx: Context, data: Tensor, order: Order, parameters: tuple[Value, Value, Value, Value], epsilon: float, momentum: float
) -> list[Value]:
    """training_mode: mean and variance of the batch itself -> y, and the running ones moved towards them."""
    scale, bias, mean, variance = (v.tensor for v in parameters)
    center, spread = tf.nn.moments(data, list(range(data.shape.rank - 1)))
    y = tf.nn.batch_normalization(data, center, spread, bias, scale, epsilon)
    running = [old * momentum + new * (1.0 - momentum) for old, new in ((mean, center), (variance, spread))]
    return [ctx.value(y, order), *map(ctx.value, running)]


@op("InstanceNormalization", layout=Layout.SPATIAL)
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    axes = list(range(1, x.shape.rank - 1))
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    return (x - mean) * (tf.math.rsqrt(variance + epsilon) * scale) + bias


@op("GroupNormalization", layout=Layout.VALUES, since=21)
def group_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Value:
    """scale and bias by channel (since opset 21)."""
    sizes = ctx.sizes(x)
    order = channels_last(len(sizes))
    data = x.in_order(order)
    channels = sizes[1]
    if not isinstance(channels, int):
        raise ctx.reject("GroupNormalization needs the number of channels to be known at build time.")
    stored = [sizes[0], *sizes[2:], num_groups, channels // num_groups]
    grouped = tf.reshape(data, tensor_shape(stored))
    axes = [*range(1, len(stored) - 2), len(stored) - 1]
    mean, variance = tf.nn.moments(tf.cast(grouped, tf.float32) if stash_type == 1 else grouped, axes, keepdims=True)
    normal = (tf.cast(grouped, mean.dtype) - mean) * tf.math.rsqrt(variance + epsilon)
    flat = tf.cast(tf.reshape(normal, tensor_shape([sizes[0], *sizes[2:], channels])), data.dtype)
    return ctx.value(flat * scale.tensor + bias.tensor, order)


@op("LRN", layout=Layout.SPATIAL)
def local_response_normalization(
    x: Tensor, *, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0, size: int
) -> Tensor:
    """The sum over channels c - floor((size-1)/2) … c + ceil((size-1)/2)."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    pads = [[0, 0]] * (x.shape.rank - 1) + [[before, after]]
    sums = tf.math.cumsum(tf.pad(tf.square(x), pads), -1)
    sums = tf.pad(sums, [[0, 0]] * (x.shape.rank - 1) + [[1, 0]])
    window = sums[..., size:] - sums[..., :-size]
    return x / tf.pow(bias + alpha / size * window, beta)


@op("LpNormalization", layout=Layout.AXIS)
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    norm = tf.norm(x, ord=p, axis=axis, keepdims=True)
    return tf.math.divide_no_nan(x, norm)


@op("MeanVarianceNormalization", layout=Layout.AXIS)
def mean_variance_normalization(x: Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    mean, variance = tf.nn.moments(x, list(axes), keepdims=True)
    return (x - mean) / (tf.sqrt(variance) + 1e-9)
