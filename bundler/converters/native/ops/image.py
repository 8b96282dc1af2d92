"""Resize, DepthToSpace and SpaceToDepth.

https://onnx.ai/onnx/operators/onnx__Resize.html, https://onnx.ai/onnx/operators/onnx__DepthToSpace.html

Where TensorFlow's image ops compute the same as ONNX, they are used. Everything else is done axis by axis with one small
matrix per axis, made at build time from ONNX's definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.bounds import LARGEST_FOLD
from bundler.converters.native.context import Context
from bundler.converters.native.dims import Dim, Element, full_shape, multiply, tensor_of
from bundler.converters.native.ops.resize_dynamic import Settings, resize_at_run_time
from bundler.converters.native.orders import channels_last
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.converters.native.zero_sizes import at_least_one, cut
from bundler.values.arrays import Array


@op("Resize", layout=AxisPolicy.VALUES)
def resize(
    ctx: Context, x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None, *,
    antialias: int = 0, axes: Sequence[int] | None = None, coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest", nearest_mode: str = "round_prefer_floor",
) -> Value:  # fmt: skip
    """Lower Resize: as one of TensorFlow's image ops where it fits, otherwise axis by axis."""
    rank = len(x.shape)
    axes = [a % rank for a in axes] if axes is not None else list(range(rank))
    scales, sizes = _none_if_empty(scales), _none_if_empty(sizes)
    factors, outs = (None if scales is None else scales.array), (None if sizes is None else sizes.elements)
    computed = any(v is not None and v.array is None and v.elements is None for v in (roi, scales, sizes))
    if computed or _is_dynamic(ctx, x, axes, factors, outs):
        settings = Settings(
            bool(antialias), coordinate_transformation_mode, cubic_coeff_a, bool(exclude_outside), extrapolation_value,
            mode, nearest_mode, keep_aspect_ratio_policy,
        )  # fmt: skip
        if not computed and _image_op_fits(ctx, x, axes, factors, outs, settings):
            return _resize_dynamic(ctx, x, axes, factors, outs, mode, coordinate_transformation_mode)
        return resize_at_run_time(ctx, x, axes, (roi, scales, sizes), settings)
    targets = _targets(x, axes, factors, outs, keep_aspect_ratio_policy)
    targets = {axis: target for axis, target in targets.items() if not target.is_identity}
    order = channels_last(rank) if rank in (3, 4, 5) and not targets.keys() & {0, 1} else x.order
    data = x.in_order(order)
    if _bilinear_fits(rank, targets, mode, coordinate_transformation_mode, antialias, data):
        return ctx.value(_bilinear(data, targets, coordinate_transformation_mode), order)
    roi_list = [] if roi is None or roi.array is None else [float(v) for v in roi.array.reshape(-1)]
    for axis, target in reversed(targets.items()):  # columns first: `_by_taps` then has fewer rows to compute
        position = axes.index(axis)
        crop = (roi_list[position], roi_list[position + len(axes)]) if roi_list else (0.0, 1.0)
        coordinates = _coordinates(target, coordinate_transformation_mode, crop)
        outside = extrapolation_value if coordinate_transformation_mode == "tf_crop_and_resize" else None
        storage_axis = axis if order is None else order.index(axis)
        if mode == "nearest":
            data = _nearest(data, storage_axis, coordinates, target, nearest_mode, outside)
        else:
            kernel = _linear if mode == "linear" else _cubic(cubic_coeff_a)
            matrix = _interpolation(target, coordinates, kernel, mode, bool(antialias), bool(exclude_outside))
            data = _apply(data, storage_axis, matrix, coordinates, target, outside)
    return ctx.value(data, order)


@dataclass(frozen=True)
class _Target:
    """One resized axis: input size, the scale that coordinates are computed with, and output size."""

    size: int
    scale: float
    out: int

    @property
    def is_identity(self) -> bool:
        return self.size == self.out and self.scale == 1.0


def _targets(
    x: Value, axes: Sequence[int], scales: Array | None, sizes: Sequence[Element] | None, policy: str
) -> dict[int, _Target]:
    if scales is not None and scales.size:
        factors = [float(s) for s in scales]
        return {
            a: _Target(_known(x, a), s, math.floor(_known(x, a) * s))
            for a, s in zip(axes, factors, strict=True)
            if s != 1.0
        }
    if sizes is None:
        raise ValueError("it has neither scales nor sizes")
    resized = [(axis, n) for axis, n in zip(axes, sizes, strict=True) if isinstance(n, int)]
    axes, outs = [axis for axis, _ in resized], [n for _, n in resized]
    if policy == "stretch":
        return {
            a: _Target(_known(x, a), n / _known(x, a), n) for a, n in zip(axes, outs, strict=True) if x.shape[a] != n
        }
    choose: Callable[[list[float]], float] = min if policy == "not_larger" else max
    scale = choose([n / _known(x, a) for a, n in zip(axes, outs, strict=True)])
    return {a: _Target(_known(x, a), scale, math.floor(scale * _known(x, a) + 0.5)) for a in axes}


def _none_if_empty(value: Value | None) -> Value | None:
    """Return None for an empty tensor, which stands for an input that is left out (opset 11)."""
    return None if value is None or (value.rank == 1 and value.shape[0] == 0) else value


def _is_dynamic(
    ctx: Context, x: Value, axes: Sequence[int], scales: Array | None, sizes: Sequence[Element] | None
) -> bool:
    """Whether the size of a resized axis, before or after, is not known at build time."""
    if scales is not None and scales.size:
        return any(s != 1.0 and x.shape[a] is None for a, s in zip(axes, scales, strict=True))
    changed = [(a, n) for a, n in zip(axes, sizes or (), strict=False) if n != ctx.dim(x, a)]
    return any(isinstance(n, Dim) or x.shape[a] is None for a, n in changed)


_TF_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
"""The values of coordinate_transformation_mode that TensorFlow's ResizeBilinear supports."""

_REPEATING = {
    ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")
}  # fmt: skip
"""Coordinates and rounding by which `nearest` with a whole factor repeats every element."""


def _image_op_fits(
    ctx: Context, x: Value, axes: Sequence[int], scales: Array | None, sizes: Sequence[Element] | None, settings: Settings
) -> bool:
    """Whether one of TensorFlow's image ops computes this resize for sizes that are not known yet.

    They resize height and width, and derive the scale from the sizes, so a factor must be a whole number.
    """
    if scales is not None:
        outer = all(s == 1.0 for a, s in zip(axes, scales, strict=True) if a < 2)
    else:
        outer = all(n == ctx.dim(x, a) for a, n in zip(axes, sizes or (), strict=False) if a < 2)
    whole = scales is None or all(float(s).is_integer() for s in scales)
    linear = settings.mode == "linear" and settings.coordinates in _TF_COORDINATES and x.dtype == tf.float32
    repeats = settings.mode == "nearest" and scales is not None and (settings.coordinates, settings.nearest) in _REPEATING
    plain = not settings.antialias and settings.policy == "stretch"
    return len(x.shape) == 4 and outer and whole and plain and (linear or repeats)


def _resize_dynamic(
    ctx: Context, x: Value, axes: Sequence[int], scales: Array | None, sizes: Sequence[Element] | None, mode: str,
    coordinates: str,
) -> Value:  # fmt: skip
    """Resize images whose height and width are known only at run time, by TensorFlow's image ops."""
    outs: list[Element] = []
    for axis in (2, 3):
        position = list(axes).index(axis) if axis in axes else None
        if position is None:
            outs.append(ctx.dim(x, axis))
        elif sizes is not None:
            outs.append(sizes[position])
        else:
            outs.append(multiply(ctx.dim(x, axis), int((scales if scales is not None else [])[position])))
    order = channels_last(4)
    half = coordinates in ("half_pixel", "pytorch_half_pixel")
    resized = _by_image_op(ctx, x, outs, mode, aligned=coordinates == "align_corners", half=half, by_factor=sizes is None)
    return ctx.value(resized, order)


def _by_image_op(
    ctx: Context, x: Value, outs: Sequence[Element], mode: str, *, aligned: bool, half: bool, by_factor: bool
) -> Tensor:
    """Resize by an image op, which takes no empty image: what is empty gets an element, and loses it afterwards.

    Nothing cannot be resized to something, so empty rows and columns are left to the op if the new sizes are given as numbers.
    """
    data = x.in_order(channels_last(4))
    if ctx.target == "serving":
        images = at_least_one(data, (1, 2, 3) if by_factor else (3,))
    else:
        images = data
    size = tf.cast(full_shape(outs), tf.int32)
    at_least = tf.maximum(size, 1) if by_factor and images is not data and tf.is_tensor(size) else size
    if mode == "linear":
        resized = tf.raw_ops.ResizeBilinear(images=images, size=at_least, align_corners=aligned, half_pixel_centers=half)
    else:
        resized = tf.raw_ops.ResizeNearestNeighbor(images=images, size=at_least)
    if images is data:
        return resized
    batch, channels = ctx.dim(x, 0), ctx.dim(x, 1)
    return tf.ensure_shape(cut(resized, tf.cast(full_shape([batch, *outs, channels]), tf.int32)), [
        n if isinstance(n, int) else None for n in (batch, *outs, channels)
    ])


def _known(x: Value, axis: int) -> int:
    size = x.shape[axis]
    if size is None:
        raise ValueError(
            f"the size of its resized axis {axis} is not known at build time; export it with a fixed size"
        )
    return size


def _bilinear_fits(
    rank: int, targets: dict[int, _Target], mode: str, coordinates: str, antialias: int, data: Tensor
) -> bool:
    """Whether ResizeBilinear computes this resize. It takes the scale from the sizes, so the scale must be exactly out/in."""
    exact = all(t.scale * t.size == t.out for t in targets.values())
    known = coordinates in ("half_pixel", "align_corners", "asymmetric") or (
        coordinates == "pytorch_half_pixel" and all(t.out > 1 for t in targets.values())
    )
    upward = not antialias or all(t.out >= t.size for t in targets.values())
    on_image = rank == 4 and bool(targets) and targets.keys() <= {2, 3}
    return mode == "linear" and on_image and exact and known and upward and data.dtype == tf.float32


def _bilinear(data: Tensor, targets: dict[int, _Target], coordinates: str) -> Tensor:
    sizes = [targets[axis].out if axis in targets else data.shape[axis - 1] for axis in (2, 3)]
    if None in sizes:
        raise ValueError("a spatial dim of its input is not known at build time")
    return tf.raw_ops.ResizeBilinear(
        images=data, size=sizes, align_corners=coordinates == "align_corners",
        half_pixel_centers=coordinates in ("half_pixel", "pytorch_half_pixel"),
    )  # fmt: skip


def _coordinates(target: _Target, mode: str, roi: tuple[float, float]) -> Array:
    """Return where each output position lies in the input, by ONNX's coordinate_transformation_mode."""
    if target.out > LARGEST_FOLD:
        raise ValueError(f"the output size {target.out} of an axis is too large")
    i = np.arange(target.out, dtype=np.float64)
    size, out, scale = target.size, target.out, target.scale
    if mode == "align_corners":
        return i * (size - 1) / (out - 1) if out > 1 else np.zeros_like(i)
    if mode == "asymmetric":
        return i / scale
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if out > 1 else np.full_like(i, -0.5)
    if mode == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjusted = out / (scale * size)
        offset = size / 2 * (1 - adjusted)
        return offset + (i + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "tf_crop_and_resize":
        start, end = roi
        if out == 1:
            return np.full_like(i, 0.5 * (start + end) * (size - 1))
        return start * (size - 1) + i * (end - start) * (size - 1) / (out - 1)
    raise ValueError(f"its coordinate_transformation_mode {mode!r} is not defined by ONNX")


def _nearest(data: Tensor, axis: int, coordinates: Array, target: _Target, rule: str, outside: float | None) -> Tensor:
    rules: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda c: np.ceil(c - 0.5),
        "round_prefer_ceil": lambda c: np.floor(c + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    index = np.clip(rules[rule](coordinates), 0, target.size - 1).astype(np.int32)
    factor = target.out // target.size
    if factor * target.size == target.out and np.array_equal(index, np.repeat(np.arange(target.size), factor)):
        result = tf.repeat(data, factor, axis) if data.shape.rank != 4 else _repeat(data, axis, factor)
    else:
        result = tf.gather(data, index, axis=axis)
    return result if outside is None else _blank(result, axis, coordinates, target, outside)


def _repeat(data: Tensor, axis: int, factor: int) -> Tensor:
    """Repeat each row `factor` times, by a concatenation that TensorFlow and TFLite run without a gather."""
    sizes = data.shape.as_list()
    if sum(s is None for s in sizes) > 1:
        return tf.repeat(data, factor, axis)
    spread = tf.concat([tf.expand_dims(data, axis + 1)] * factor, axis + 1)
    return tf.reshape(spread, [-1 if s is None else s * factor if a == axis else s for a, s in enumerate(sizes)])


def _blank(data: Tensor, axis: int, coordinates: Array, target: _Target, outside: float) -> Tensor:
    """Set positions outside of the input to the extrapolation value (tf_crop_and_resize)."""
    inside = (coordinates >= 0) & (coordinates <= target.size - 1)
    if inside.all():
        return data
    shape = [1] * data.shape.rank
    shape[axis] = target.out
    return tf.where(inside.reshape(shape), data, tf.cast(outside, data.dtype))


def _linear(distance: Array) -> Array:
    weights: Array = np.maximum(1 - np.abs(distance), 0)
    return weights


def _cubic(a: float) -> Callable[[Array], Array]:
    """Return Keys' kernel with ONNX's cubic_coeff_a."""

    def kernel(distance: Array) -> Array:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        weights: Array = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
        return weights

    return kernel


def _interpolation(
    target: _Target, coordinates: Array, kernel: Callable[[Array], Array], mode: str, antialias: bool, exclude: bool
) -> Array:
    """Return the matrix [out, size] that resizes the axis; antialias widens the kernel by 1/scale."""
    stretch = max(1 / target.scale, 1.0) if antialias else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) * stretch) + 1
    matrix = np.zeros((target.out, target.size))
    for row, center in enumerate(coordinates):
        taps = np.arange(math.floor(center) - reach, math.floor(center) + reach + 1)
        weights = kernel((taps - center) / stretch)
        if exclude or (antialias and mode == "linear"):
            weights = np.where((taps >= 0) & (taps < target.size), weights, 0.0) if exclude else weights
        total = weights.sum()
        np.add.at(matrix[row], np.clip(taps, 0, target.size - 1), weights / total)
    return matrix


def _apply(
    data: Tensor, axis: int, matrix: Array, coordinates: Array, target: _Target, outside: float | None
) -> Tensor:
    """Contract one axis with the matrix, in float32 at least."""
    dtype = data.dtype if data.dtype in (tf.float32, tf.float64) else tf.float32
    result = _along(tf.cast(data, dtype), axis, matrix.astype(dtype.as_numpy_dtype))
    result = tf.cast(tf.round(result) if data.dtype.is_integer else result, data.dtype)
    return result if outside is None else _blank(result, axis, coordinates, target, outside)


_SHORT = 8
"""A last axis shorter than this makes a product many small ones."""
_TAPS = 4
"""Most weights per row for which a sum of gathers replaces the product."""


def _along(data: Tensor, axis: int, matrix: Array) -> Tensor:
    """Multiply each vector along the axis by the matrix [out, size]; the axes after it are the product's columns."""
    rank = data.shape.rank
    if axis == rank - 1:
        return tf.matmul(data, tf.constant(matrix), transpose_b=True)
    if axis == rank - 2:
        few = np.count_nonzero(matrix, axis=1).max(initial=0) <= _TAPS
        short = data.shape[-1] is not None and data.shape[-1] < _SHORT
        return _by_taps(data, axis, matrix) if few and short else tf.matmul(tf.constant(matrix), data)
    sizes = _sizes(data)
    columns = math.prod(sizes[axis + 1 :])  # of ints and scalars
    product = tf.matmul(tf.constant(matrix), tf.reshape(data, [*sizes[: axis + 1], columns]))
    return tf.reshape(product, [*sizes[:axis], matrix.shape[0], *sizes[axis + 1 :]])


def _by_taps(data: Tensor, axis: int, matrix: Array) -> Tensor:
    """Compute the same for a matrix with few weights per row, as a sum of weighted gathers.

    Before a short axis (the channels of an image) the product becomes many small ones: enlarging 128x128x3 to three times
    its size takes 6.3 ms by a product, 2.7 ms by taps, and 2.5 ms by a product between two transposes.
    """
    indices = np.argsort(matrix == 0, axis=1, kind="stable")[:, :_TAPS]
    weights = np.take_along_axis(matrix, indices, 1)
    shape = [1] * data.shape.rank
    shape[axis] = matrix.shape[0]
    used = [tap for tap in range(indices.shape[1]) if weights[:, tap].any()]
    return tf.add_n([tf.gather(data, indices[:, t].astype(np.int32), axis=axis) * weights[:, t].reshape(shape) for t in used])


def _sizes(data: Tensor) -> list[Any]:
    """Return the sizes in the form tf.reshape takes: -1 for a dynamic first one, scalars for others."""
    sizes = data.shape.as_list()
    if sizes.count(None) == 1 and sizes[0] is None:
        return [-1, *sizes[1:]]
    run_time = tf.shape(data)
    return [run_time[axis] if size is None else size for axis, size in enumerate(sizes)]


@op("DepthToSpace", layout=AxisPolicy.VALUES)
def depth_to_space(ctx: Context, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """Lower DepthToSpace; TensorFlow's op is DCR on channels last, and CRD (PyTorch's pixel_shuffle) reorders channels first."""
    if blocksize == 1:  # TensorFlow takes 2 and more
        return x
    order = channels_last(4)
    data = x.in_order(order)
    if mode == "CRD":
        data = tf.gather(data, _transposed_range(ctx.dim(x, 1), blocksize * blocksize), axis=-1)
    return ctx.value(tf.nn.depth_to_space(data, blocksize), order)


@op("SpaceToDepth", layout=AxisPolicy.VALUES)
def space_to_depth(ctx: Context, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """Lower SpaceToDepth; TensorFlow's op is DCR on channels last, and CRD reorders its channels."""
    if blocksize == 1:  # TensorFlow takes 2 and more
        return x
    order = channels_last(4)
    deep = tf.nn.space_to_depth(x.in_order(order), blocksize)
    if mode == "CRD":
        deep = tf.gather(deep, _transposed_range(multiply(ctx.dim(x, 1), blocksize**2), ctx.dim(x, 1)), axis=-1)
    return ctx.value(deep, order)


def _transposed_range(count: Element, columns: Element) -> Any:
    """Return 0, 1, … count - 1, written in rows of `columns` numbers and read by column."""
    if isinstance(count, int) and isinstance(columns, int):
        return np.arange(count, dtype=np.int32).reshape(-1, columns).T.reshape(-1)
    table = tf.reshape(tf.range(tensor_of(count)), tf.stack([tf.constant(-1, tf.int64), tensor_of(columns)]))
    return tf.reshape(tf.transpose(table), [-1])
