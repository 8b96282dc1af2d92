"""Resize with sizes that are known only at run time: the coordinates are computed in the graph.

https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.orders import channels_last
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

F = tf.float32


@dataclass(frozen=True)
class Settings:
    """The attributes of a Resize."""

    antialias: bool
    coordinates: str
    cubic_coeff: float
    exclude_outside: bool
    extrapolation: float
    mode: str
    nearest: str
    policy: str


@dataclass(frozen=True)
class Axis:
    """One resized axis.

    Attributes:
        size: the size before, an int32 scalar.
        out: the size after, an int32 scalar.
        scale: the scale that coordinates are computed with.
        start: where the region of interest begins, as a share of the size.
        end: where it ends.
    """

    size: Tensor
    out: Tensor
    scale: Tensor
    start: Tensor
    end: Tensor


def resize_at_run_time(
    ctx: Context, x: Value, axes: Sequence[int], inputs: tuple[Value | None, Value | None, Value | None], settings: Settings
) -> Value:
    """Resize x along `axes`; an axis that is known to keep its size is not touched.

    Args:
        ctx: the conversion.
        x: the data.
        axes: the axes that the inputs describe.
        inputs: roi, scales and sizes.
        settings: the node's attributes.
    """
    roi, scales, sizes = inputs
    rank = len(x.shape)
    unchanged = _unchanged_axes(ctx, x, axes, scales, sizes, settings)
    resized = [a for a in axes if a not in unchanged]
    order = channels_last(rank) if rank in (3, 4, 5) and not {0, 1} & set(resized) else x.order
    data = x.in_order(order)
    storage_axes = [a if order is None else order.index(a) for a in axes]
    lengths = [tf.shape(data)[axis] for axis in storage_axes]
    if scales is not None:
        targets = _by_scales(lengths, scales.tensor)
    elif sizes is not None:
        targets = _by_sizes(lengths, sizes.tensor, settings.policy)
    else:
        raise ValueError("it has neither scales nor sizes")
    for i, a in enumerate(axes):
        if a in resized:
            start = tf.zeros([]) if roi is None else tf.cast(roi.tensor[i], F)
            end = tf.ones([]) if roi is None else tf.cast(roi.tensor[i + len(axes)], F)
            data = _resize_axis(data, storage_axes[i], Axis(lengths[i], *targets[i], start, end), settings)
    return ctx.value(data, order)


def _unchanged_axes(
    ctx: Context, x: Value, axes: Sequence[int], scales: Value | None, sizes: Value | None, settings: Settings
) -> set[int]:
    if settings.coordinates == "tf_crop_and_resize" or settings.policy != "stretch":
        return set()
    if scales is not None and scales.array is not None:
        return {a for a, s in zip(axes, scales.array, strict=True) if s == 1.0}
    elements = None if scales is not None or sizes is None else sizes.elements
    return {a for a, n in zip(axes, elements or (), strict=False) if n == ctx.dim(x, a)}


def _by_scales(sizes: Sequence[Tensor], scales: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return (out, scale) of each axis."""
    factors = [tf.cast(scales[i], F) for i in range(len(sizes))]
    return [(tf.cast(tf.floor(tf.cast(n, F) * s), tf.int32), s) for n, s in zip(sizes, factors, strict=True)]


def _by_sizes(sizes: Sequence[Tensor], targets: Tensor, policy: str) -> list[tuple[Tensor, Tensor]]:
    """Return (out, scale) of each axis; the policies not_larger and not_smaller keep the aspect ratio."""
    outs = [tf.cast(targets[i], tf.int32) for i in range(len(sizes))]
    scales = [tf.cast(o, F) / tf.cast(n, F) for o, n in zip(outs, sizes, strict=True)]
    if policy == "stretch":
        return list(zip(outs, scales, strict=True))
    scale = (tf.reduce_min if policy == "not_larger" else tf.reduce_max)(tf.stack(scales))
    return [(tf.cast(tf.floor(scale * tf.cast(n, F) + 0.5), tf.int32), scale) for n in sizes]


def _resize_axis(data: Tensor, place: int, axis: Axis, settings: Settings) -> Tensor:
    """Resize the storage axis `place` of the data."""
    centers = _coordinates(axis, settings.coordinates)
    last = tf.cast(axis.size, F) - 1.0
    if settings.mode == "nearest":
        result = tf.gather(data, tf.cast(tf.clip_by_value(_ROUND[settings.nearest](centers), 0.0, last), tf.int32), axis=place)
    else:
        result = _interpolated(data, place, axis, centers, settings)
    if settings.coordinates != "tf_crop_and_resize":
        return result
    inside = tf.reshape(tf.logical_and(centers >= 0.0, centers <= last), _along(place, data.shape.rank))
    return tf.where(inside, result, tf.cast(settings.extrapolation, data.dtype))


_ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": lambda c: tf.math.ceil(c - 0.5),
    "round_prefer_ceil": lambda c: tf.floor(c + 0.5),
    "floor": tf.floor,
    "ceil": tf.math.ceil,
}


def _along(place: int, rank: int) -> list[int]:
    return [-1 if a == place else 1 for a in range(rank)]


def _coordinates(axis: Axis, mode: str) -> Tensor:
    """Return where each output position lies in the input, [out], by ONNX's coordinate_transformation_mode."""
    i = tf.cast(tf.range(axis.out), F)
    size, out, scale = tf.cast(axis.size, F), tf.cast(axis.out, F), axis.scale
    single = axis.out <= 1
    half = (i + 0.5) / scale - 0.5
    if mode == "half_pixel":
        return half
    if mode == "pytorch_half_pixel":
        return tf.where(single, tf.fill(tf.shape(i), -0.5), half)
    if mode == "align_corners":
        return tf.where(single, tf.zeros_like(i), i * (size - 1.0) / tf.maximum(out - 1.0, 1.0))
    if mode == "asymmetric":
        return i / scale
    if mode == "half_pixel_symmetric":
        return size / 2.0 * (1.0 - out / (scale * size)) + half
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "tf_crop_and_resize":
        inner = axis.start * (size - 1.0) + i * (axis.end - axis.start) * (size - 1.0) / tf.maximum(out - 1.0, 1.0)
        return tf.where(single, tf.fill(tf.shape(i), 0.5 * (axis.start + axis.end) * (size - 1.0)), inner)
    raise ValueError(f"its coordinate_transformation_mode {mode!r} is not defined by ONNX")


def _interpolated(data: Tensor, place: int, axis: Axis, centers: Tensor, settings: Settings) -> Tensor:
    """Sum the weighted taps around each center; antialias widens the kernel by 1/scale."""
    stretch = tf.maximum(1.0 / axis.scale, 1.0) if settings.antialias else tf.constant(1.0)
    reach = tf.cast(tf.math.ceil((1.0 if settings.mode == "linear" else 2.0) * stretch), F) + 1.0
    taps = tf.floor(centers)[:, None] + tf.range(-reach, reach + 1.0)[None]
    weights = _kernel((taps - centers[:, None]) / stretch, settings)
    last = tf.cast(axis.size, F) - 1.0
    if settings.exclude_outside:
        weights = tf.where(tf.logical_and(taps >= 0.0, taps <= last), weights, 0.0)
    weights /= tf.reduce_sum(weights, 1, keepdims=True)
    index = tf.cast(tf.clip_by_value(taps, 0.0, last), tf.int32)
    wide = data.dtype if data.dtype in (tf.float32, tf.float64) else F
    values = tf.gather(tf.cast(data, wide), index, axis=place)
    rank = data.shape.rank
    shape = tf.concat([[1] * place, tf.shape(index), [1] * (rank - 1 - place)], 0)
    total = tf.reduce_sum(values * tf.cast(tf.reshape(weights, shape), wide), place + 1)
    return tf.cast(tf.round(total) if data.dtype.is_integer else total, data.dtype)


def _kernel(distance: Tensor, settings: Settings) -> Tensor:
    d = tf.abs(distance)
    if settings.mode == "linear":
        return tf.maximum(1.0 - d, 0.0)
    a = settings.cubic_coeff
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    return tf.where(d <= 1.0, near, tf.where(d < 2.0, far, 0.0))
