"""Normalizations and softmax.

https://onnx.ai/onnx/operators/onnx__LayerNormalization.html, https://onnx.ai/onnx/operators/onnx__Softmax.html
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.context import Context
from bundler.converters.native.dims import divide, product, tensor_shape
from bundler.converters.native.ops.half import in_single, single
from bundler.converters.native.orders import Order, channels_last
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor, transpose
from bundler.converters.native.value import Value
from bundler.converters.native.zero_sizes import at_least_one


@op("Softmax", layout=AxisPolicy.AXIS, since=13)
def softmax_along(ctx: Context, x: Tensor, *, axis: int = -1) -> Tensor:
    """Lower Softmax along `axis`.

    TensorFlow's kernel works along the last axis. Along another axis, separate operations are faster than the kernel between
    two transposes (56x56x8x16 over 8: 1.1 ms instead of 2.6 ms).
    """
    last = axis % x.shape.rank == x.shape.rank - 1
    return softmax(x, axis) if last or ctx.target == "tflite" else _softmax(x, axis)


_SOFTMAX_AXES = 5
"""The axes of Softmax with oneDNN; LiteRT's takes 6, and TensorFlow's own kernel any number of them."""


@in_single
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Compute the softmax along an axis; half precision is computed in float32."""
    if ranks.exceeds(x, _SOFTMAX_AXES) and axis % x.shape.rank == x.shape.rank - 1:
        matrix, sizes = ranks.rows(x)
        return ranks.reshaped(tf.nn.softmax(matrix), sizes)
    return ranks.along(tf.nn.softmax, x, axis, _SOFTMAX_AXES)


@in_single
def _softmax(x: Tensor, axis: int) -> Tensor:
    powers = tf.exp(x - tf.reduce_max(x, axis, keepdims=True))
    return powers / tf.reduce_sum(powers, axis, keepdims=True)


@op("LogSoftmax", layout=AxisPolicy.AXIS, since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Lower LogSoftmax; half precision is computed in float32."""
    return ranks.along(in_single(tf.nn.log_softmax), x, axis, _SOFTMAX_AXES)


@op("Hardmax", layout=AxisPolicy.AXIS, since=13)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Lower Hardmax: 1 at the first maximum along `axis`, otherwise 0."""
    return ranks.along(_first_maximum, x, axis, ranks.MOST_AXES["serving"])


def _first_maximum(x: Tensor, axis: int) -> Tensor:
    size = x.shape[axis] or tf.shape(x)[axis]
    return tf.one_hot(tf.argmax(at_least_one(x, [axis]), axis), size, axis=axis, dtype=x.dtype)


@op("LayerNormalization", layout=AxisPolicy.VALUES)
def layer_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> list[Value | None]:  # fmt: skip
    """Lower LayerNormalization: y, mean and 1 / standard deviation; half precision in float32 with stash_type 1."""
    if not _is_by_row(ctx, x, scale, bias, axis):
        data, axes, sizes = _with_leading_merged(x.tensor, axis % len(x.shape))
        y, *statistics = _normalized(data, axes, scale, bias, epsilon, stash_type == 1)
        if data is x.tensor:
            return [ctx.value(t) for t in (y, *statistics)]
        ones = [*sizes[: axis % len(x.shape)], *[1] * len(axes)]
        return [ctx.value(ranks.reshaped(y, sizes)), *(ctx.value(ranks.reshaped(t, ones)) for t in statistics)]
    rows = x.rows if x.flattened_sizes is not None and x.order is None else tf.reshape(x.tensor, [-1, x.shape[-1]])
    if bias is not None and epsilon >= _SMALLEST_EPSILON and _elements_per_example(x) >= MANY_ELEMENTS:
        results = _normalized_by_kernel(rows, scale, bias, epsilon)
    else:
        results = _normalized(rows, [1], scale, bias, epsilon, True)
    sizes = ctx.sizes(x)
    return [Value.from_flattened(t, [*sizes[:-1], t.shape[-1]], ctx.store) for t in results]


def _with_leading_merged(x: Tensor, axis: int) -> tuple[Tensor, list[int], list[ranks.Size]]:
    """Return x, the axes from `axis` on, and the sizes; the axes before it are merged if there are many."""
    sizes, rank = ranks.sizes_of(x), x.shape.rank
    if rank <= ranks.REDUCED_AXES["tflite"] or axis < 2:
        return x, list(range(axis, rank)), sizes
    view = ranks.reshaped(x, [ranks.joined(sizes[:axis]), *sizes[axis:]])
    return view, list(range(1, view.shape.rank)), sizes


def _elements_per_example(x: Value) -> int:
    """Return the number of elements of one example; 0 if it is not known."""
    return prod(n or 0 for n in x.shape[1:])


def _is_by_row(ctx: Context, x: Value, scale: Value, bias: Value | None, axis: int) -> bool:
    """Whether the normalization is over the last axis, in float32, with constant vectors, and for serving."""
    rank, channels = len(x.shape), x.shape[-1]
    vectors = all(v is None or (v.array is not None and v.array.shape == (channels,)) for v in (scale, bias))
    plain = x.dtype == tf.float32 and not x.is_constant and ctx.target == "serving"
    return plain and vectors and rank > 1 and axis % rank == rank - 1


def _normalized(
    x: Tensor, axes: list[int], scale: Value, bias: Value | None, epsilon: float, widened: bool
) -> tuple[Tensor, Tensor, Tensor]:
    wide = single(x) if widened else x
    mean = tf.reduce_mean(wide, axes, keepdims=True)
    centred = wide - mean
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axes, keepdims=True) + epsilon)
    result = _with_parameters(centred * inverse, scale.tensor, None if bias is None else bias.tensor)
    kind = tf.float32 if widened else x.dtype  # that of the operator's other outputs
    return tf.cast(result, x.dtype), tf.cast(mean, kind), tf.cast(inverse, kind)


def _with_parameters(normal: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return normal * scale + bias in the dtype of `normal`: with half-precision data that is float32, as in PyTorch."""
    result = normal * tf.cast(scale, normal.dtype)
    return result if bias is None else result + tf.cast(bias, normal.dtype)


MANY_ELEMENTS = 100_000
"""Elements per example from which oneDNN's kernel, which costs at least 0.2 ms, beats nine small ones (benchmarks/forms.py)."""

_SMALLEST_EPSILON = 1e-9
"""A smaller epsilon would need a stretch by more than 1,000, which costs float32 too much precision."""

_KERNEL_EPSILON = 1e-3
"""Added to the variance by oneDNN's kernel, whatever the graph says (TensorFlow 2.21)."""


def _normalized_by_kernel(rows: Tensor, scale: Value, bias: Value, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize in the form that TensorFlow's optimiser replaces by one kernel with oneDNN.

    The form is x * i + (b - m * i) with squared differences, two or three axes, scale and bias as constants of the graph
    (tensorflow/core/grappler/optimizers/remapper.cc, FindMklLayerNorm).

    The kernel has a fixed epsilon of 1e-3. x is stretched by a so that the result is the same:
    a² var + 1e-3 = a² (var + epsilon). The graph uses 1e-3 too, so it is also right where nothing is replaced.
    """
    stretch = float(np.sqrt(_KERNEL_EPSILON / epsilon))
    stretched = rows * tf.constant(stretch, rows.dtype)
    mean = tf.reduce_mean(stretched, [1], keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(stretched, mean), [1], keepdims=True)
    inverse = tf.math.rsqrt(variance + _KERNEL_EPSILON)
    factor = inverse * tf.constant(scale.array)
    return stretched * factor + (tf.constant(bias.array) - factor * mean), mean / stretch, inverse * stretch


@op("RMSNormalization")
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Lower RMSNormalization: x over its root mean square, times scale; in float32 with stash_type 1."""
    view, axes, sizes = _with_leading_merged(x, axis % x.shape.rank)
    data = single(view) if stash_type == 1 else view
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(data), axes, keepdims=True) + epsilon)
    result = tf.cast(_with_parameters(data * inverse, scale), x.dtype)
    return result if view is x else ranks.reshaped(result, sizes)


@op("BatchNormalization", layout=AxisPolicy.VALUES)
def batch_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value, mean: Value, variance: Value, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0,
) -> Value | list[Value]:  # fmt: skip
    """Lower BatchNormalization; constants are folded into one multiplication and one addition by channel."""
    order = x.order if x.order is not None and x.order[-1] == 1 else channels_last(len(x.shape))
    data = x.in_order(order)
    if training_mode:
        return _with_batch_statistics(ctx, data, order, (scale, bias, mean, variance), epsilon, momentum)
    arrays = [v.array for v in (scale, bias, mean, variance)]
    if any(a is None for a in arrays):
        parameters = (single(v.tensor) for v in (mean, variance, bias, scale))
        normal = tf.nn.batch_normalization(single(data), *parameters, epsilon)
        return ctx.value(tf.cast(normal, data.dtype), order)
    gamma, beta, center, spread = (np.asarray(a, np.float64) for a in arrays)
    factor = gamma / np.sqrt(spread + epsilon)
    offset = beta - center * factor
    wide = single(data)
    dtype = wide.dtype.as_numpy_dtype
    normal = tf.nn.bias_add(wide * ctx.weight(factor.astype(dtype)), ctx.weight(offset.astype(dtype)))
    return ctx.value(tf.cast(normal, data.dtype), order)


def _with_batch_statistics(
    ctx: Context, data: Tensor, order: Order, parameters: tuple[Value, Value, Value, Value], epsilon: float, momentum: float
) -> list[Value]:
    """Normalize by the batch's own mean and variance (training_mode); returns y, and the updated running ones."""
    scale, bias, mean, variance = (single(v.tensor) for v in parameters)
    center, spread = tf.nn.moments(single(data), list(range(data.shape.rank - 1)))
    y = tf.nn.batch_normalization(single(data), center, spread, bias, scale, epsilon)
    running = [old * momentum + new * (1.0 - momentum) for old, new in ((mean, center), (variance, spread))]
    dtypes = (parameters[2].dtype, parameters[3].dtype)
    return [ctx.value(tf.cast(y, data.dtype), order), *(ctx.value(tf.cast(t, d)) for t, d in zip(running, dtypes, strict=True))]


@op("InstanceNormalization", layout=AxisPolicy.SPATIAL)
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Lower InstanceNormalization, over the spatial axes."""
    sizes = ranks.sizes_of(x)
    if len(sizes) > ranks.REDUCED_AXES["tflite"]:
        x = ranks.reshaped(x, [sizes[0], ranks.joined(sizes[1:-1]), sizes[-1]])
    axes, wide = list(range(1, x.shape.rank - 1)), single(x)
    if _is_everywhere(scale, 1) and _is_everywhere(bias, 0):
        # A computed scale and offset may follow (adaptive instance normalization). With `moments`, TensorFlow 2.15 and 2.16
        # with oneDNN would take them for the layer's constants, and the process would end ("key not found: value").
        centered = wide - tf.reduce_mean(wide, axes, keepdims=True)
        result = centered * tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axes, keepdims=True) + epsilon)
    else:
        mean, variance = tf.nn.moments(wide, axes, keepdims=True)
        result = (wide - mean) * (tf.math.rsqrt(variance + epsilon) * single(scale)) + single(bias)
    return ranks.reshaped(tf.cast(result, x.dtype), sizes)


def _is_everywhere(parameter: Tensor, number: float) -> bool:
    """Return whether a parameter is constant, with one number everywhere."""
    value = tf.get_static_value(parameter)
    return value is not None and bool(np.all(value == number))


@op("GroupNormalization", layout=AxisPolicy.VALUES, since=21)
def group_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Value:
    """Lower GroupNormalization with scale and bias by channel (since opset 21)."""
    sizes = ctx.sizes(x)
    order = channels_last(len(sizes))
    data = x.in_order(order)
    channels = sizes[1]
    spatial = sizes[2:] if len(sizes) < ranks.REDUCED_AXES["tflite"] else [product(sizes[2:])]
    stored = [sizes[0], *spatial, num_groups, divide(channels, num_groups)]
    grouped = tf.reshape(data, tensor_shape(stored))
    axes = [*range(1, len(stored) - 2), len(stored) - 1]
    mean, variance = tf.nn.moments(single(grouped) if stash_type == 1 else grouped, axes, keepdims=True)
    normal = (tf.cast(grouped, mean.dtype) - mean) * tf.math.rsqrt(variance + epsilon)
    flat = tf.reshape(normal, tensor_shape([sizes[0], *sizes[2:], channels]))
    return ctx.value(tf.cast(_with_parameters(flat, scale.tensor, bias.tensor), data.dtype), order)


@op("LRN", layout=AxisPolicy.SPATIAL)
def local_response_normalization(
    x: Tensor, *, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0, size: int
) -> Tensor:
    """Lower LRN: x / (bias + alpha / size * s)^beta, with s the sum of squares over `size` channels around each channel."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    pads = [[0, 0]] * (x.shape.rank - 1) + [[before, after]]
    sums = tf.math.cumsum(tf.pad(tf.square(single(x)), pads), -1)
    sums = tf.pad(sums, [[0, 0]] * (x.shape.rank - 1) + [[1, 0]])
    window = sums[..., size:] - sums[..., :-size]
    return tf.cast(single(x) / tf.pow(bias + alpha / size * window, beta), x.dtype)


@op("LpNormalization", layout=AxisPolicy.AXIS)
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Lower LpNormalization: x over its p-norm along `axis`; 0 where the norm is 0."""

    @in_single
    def over_norm(x: Tensor, axis: int) -> Tensor:
        return tf.math.divide_no_nan(x, tf.norm(x, ord=p, axis=axis, keepdims=True))

    return ranks.along(over_norm, x, axis, ranks.REDUCED_AXES["tflite"])


@op("MeanVarianceNormalization", layout=AxisPolicy.AXIS)
def mean_variance_normalization(x: Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    """Lower MeanVarianceNormalization: (x - mean) / standard deviation."""
    rank = x.shape.rank
    if not ranks.exceeds(x, ranks.MOST_AXES["serving"]):
        return _standardized(x, list(axes))
    reduced = sorted(axis % rank for axis in axes)
    matrix, sizes = ranks.kept_and_reduced(x, reduced)
    moved = [axis for axis in range(rank) if axis not in reduced] + reduced
    result = ranks.reshaped(_standardized(matrix, [1]), [sizes[axis] for axis in moved])
    return transpose(result, [moved.index(axis) for axis in range(rank)])


def _standardized(x: Tensor, axes: list[int]) -> Tensor:
    wide = single(x)
    mean, variance = tf.nn.moments(wide, axes, keepdims=True)
    return tf.cast((wide - mean) / (tf.sqrt(variance) + 1e-9), x.dtype)
