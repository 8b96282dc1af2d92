"""Images sampled at positions that the model computes: GridSample, RoiAlign, DeformConv, AffineGrid.

https://onnx.ai/onnx/operators/onnx__GridSample.html, https://onnx.ai/onnx/operators/onnx__RoiAlign.html,
https://onnx.ai/onnx/operators/onnx__DeformConv.html, https://onnx.ai/onnx/operators/onnx__AffineGrid.html
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.orders import channels_last
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

_CUBIC = -0.75
"""Keys' coefficient, PyTorch's and ONNX's."""


@dataclass(frozen=True)
class _Axis:
    """A spatial axis: its size (int32 scalar) and the coordinates of its borders."""

    size: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, size: Tensor, aligned: bool) -> _Axis:
        """Return the axis; its borders are the centers of the outer pixels (aligned) or their outer edges."""
        whole = tf.cast(size, tf.float32)
        return cls(size, *((tf.zeros([]), whole - 1.0) if aligned else (tf.constant(-0.5), whole - 0.5)))

    def reflected(self, x: Tensor) -> Tensor:
        """Mirror a coordinate at the borders until it lies inside."""
        span = self.high - self.low
        distance = tf.math.floormod(x - self.low, 2.0 * span)
        mirrored = self.low + span - tf.abs(distance - span)
        return tf.where(tf.logical_and(x >= self.low, x <= self.high), x, mirrored)

    def placed(self, x: Tensor, padding: str) -> Tensor:
        """Return the coordinate that is sampled for x."""
        if padding == "border":
            return tf.clip_by_value(x, 0.0, tf.cast(self.size, tf.float32) - 1.0)
        return self.reflected(x) if padding == "reflection" else x

    def tap(self, place: Tensor, padding: str) -> tuple[Tensor, Tensor]:
        """Return the index of a whole coordinate, and 1 where it counts, 0 where it is padding."""
        last = tf.cast(self.size, tf.float32) - 1.0
        inside = tf.logical_and(place >= 0.0, place <= last)
        if padding == "reflection":
            place = self.reflected(place)
        index = tf.cast(tf.clip_by_value(place, 0.0, last), tf.int32)
        return index, tf.cast(inside, tf.float32) if padding == "zeros" else tf.ones_like(place)


@op("GridSample", layout=AxisPolicy.VALUES)
def grid_sample(
    ctx: Context, x: Value, grid: Value, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Value:
    """Lower GridSample: sample x [N, C, s1 … sd] at grid [N, o1 … od, d] in [-1, 1], the last axis first.

    Returns [N, C, o1 … od].
    """
    rank = len(x.shape)
    order = channels_last(rank)
    data = x.in_order(order)
    sizes = tf.shape(data)[1:-1]
    axes = [_Axis.of(sizes[i], bool(align_corners)) for i in range(rank - 2)]
    points = tf.cast(grid.tensor, tf.float32)
    batch, out_sizes = tf.shape(points)[0], tf.shape(points)[1:-1]
    flat = tf.reshape(points, [batch, -1, rank - 2])
    coordinates = [_absolute(flat[..., rank - 3 - i], axis, bool(align_corners)) for i, axis in enumerate(axes)]
    sampled = _sample(data, axes, coordinates, mode.removeprefix("bi"), padding_mode)
    shape = tf.concat([[batch], out_sizes, [tf.shape(data)[-1]]], 0)
    result = tf.reshape(sampled, shape)
    result.set_shape([data.shape[0], *points.shape[1:-1], data.shape[-1]])
    return ctx.value(tf.cast(result, data.dtype), order)


def _absolute(x: Tensor, axis: _Axis, aligned: bool) -> Tensor:
    """Map [-1, 1] to pixels; the ends are the centers of the outer pixels (aligned) or their outer edges."""
    size = tf.cast(axis.size, tf.float32)
    return (x + 1.0) / 2.0 * (size - 1.0) if aligned else ((x + 1.0) * size - 1.0) / 2.0


def _sample(data: Tensor, axes: Sequence[_Axis], coordinates: Sequence[Tensor], mode: str, padding: str) -> Tensor:
    """Sample data [N, s…, C] at coordinates, one [N, P] per axis; returns float32 [N, P, C]."""
    count = len(axes)
    shape = tf.shape(data)
    flat = tf.cast(tf.reshape(data, tf.stack([shape[0], tf.reduce_prod(shape[1:-1]), shape[-1]])), tf.float32)
    taps = [_taps(axis, x, mode, padding) for axis, x in zip(axes, coordinates, strict=True)]
    total = None
    for corner in itertools.product(*taps):
        index, weight = corner[0]
        for i in range(1, count):
            index = index * shape[1 + i] + corner[i][0]
            weight = weight * corner[i][1]
        part = tf.gather(flat, index, batch_dims=1) * tf.expand_dims(weight, -1)
        total = part if total is None else total + part
    return total


def _taps(axis: _Axis, x: Tensor, mode: str, padding: str) -> list[tuple[Tensor, Tensor]]:
    """Return (index, weight) of every element of the axis that a coordinate reads."""
    if mode == "nearest":
        index, counts = axis.tap(axis.placed(tf.round(x), padding), padding)
        return [(index, counts)]
    if mode == "linear":
        x = axis.placed(x, padding)
    base = tf.floor(x)
    part = x - base
    steps: tuple[float, ...]
    if mode == "linear":
        steps, weights = (0.0, 1.0), [1.0 - part, part]
    elif mode == "cubic":
        steps, weights = (-1.0, 0.0, 1.0, 2.0), [_far(part + 1.0), _near(part), _near(1.0 - part), _far(2.0 - part)]
    else:
        raise ValueError(f"its mode {mode!r} is not defined by ONNX")
    taps = [axis.tap(base + step, padding) for step in steps]
    return [(index, counts * weight) for (index, counts), weight in zip(taps, weights, strict=True)]


def _near(d: Tensor) -> Tensor:
    return ((_CUBIC + 2.0) * d - (_CUBIC + 3.0)) * d * d + 1.0


def _far(d: Tensor) -> Tensor:
    return ((_CUBIC * d - 5.0 * _CUBIC) * d + 8.0 * _CUBIC) * d - 4.0 * _CUBIC


@op("AffineGrid")
def affine_grid(theta: Tensor, size: Tensor, *, align_corners: int = 0) -> Tensor:
    """Lower AffineGrid: theta [N, d, d+1] and size [N, C, s1 … sd] give [N, s1 … sd, d].

    The result holds coordinates in [-1, 1], the last axis first.
    """
    count = theta.shape[1] or (None if size.shape[0] is None else size.shape[0] - 2)
    if count is not None:
        return _affine_grid(theta, size, count, bool(align_corners))
    return tf.cond(
        tf.equal(tf.shape(theta)[1], 2),
        lambda: _affine_grid(theta, size, 2, bool(align_corners)),
        lambda: _affine_grid(theta, size, 3, bool(align_corners)),
    )


def _affine_grid(theta: Tensor, size: Tensor, count: int, align_corners: bool) -> Tensor:
    sizes = tf.cast(size, tf.int32)[2:]
    lines = [_line(sizes[i], align_corners, theta.dtype) for i in range(count)]
    mesh = tf.meshgrid(*lines, indexing="ij")
    points = tf.stack([*reversed(mesh), tf.ones_like(mesh[0])], -1)
    flat = tf.reshape(points, [-1, count + 1])
    moved = tf.matmul(tf.tile(flat[None], [tf.shape(theta)[0], 1, 1]), theta, transpose_b=True)
    return tf.reshape(moved, tf.concat([[tf.shape(theta)[0]], sizes, [count]], 0))


def _line(size: Tensor, aligned: bool, dtype: tf.DType) -> Tensor:
    """Return `size` coordinates from -1 to 1; the ends are the first and last center (aligned), or half a step inside."""
    i, count = tf.cast(tf.range(size), dtype), tf.cast(size, dtype)
    return 2.0 * i / (count - 1.0) - 1.0 if aligned else (2.0 * i + 1.0) / count - 1.0


@op("RoiAlign", layout=AxisPolicy.VALUES, since=16)
def roi_align(
    ctx: Context, x: Value, rois: Value, batch_indices: Value, *, coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg", output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0,
) -> Value:  # fmt: skip
    """Lower RoiAlign: x [N, C, H, W] and rois [R, 4] (x1, y1, x2, y2) give [R, C, output_height, output_width]."""
    order = channels_last(4)
    data = x.in_order(order)
    half = coordinate_transformation_mode == "half_pixel"
    corners = tf.cast(rois.tensor, tf.float32) * spatial_scale - (0.5 if half else 0.0)
    sides = []
    for low, high, out, axis in ((1, 3, output_height, 1), (0, 2, output_width, 2)):
        sides.append(_roi_side(corners[:, low], corners[:, high], out, tf.shape(data)[axis], sampling_ratio, half))
    return ctx.value(tf.cast(_pooled_rois(data, batch_indices.tensor, sides[0], sides[1], mode), data.dtype), order)


@dataclass(frozen=True)
class _RoiSide:
    """The samples along one axis of all regions.

    Attributes:
        taps: indices and weights of two taps, each [R, out, samples].
        used: [R, samples], 1 for samples that the region has; an adaptive grid gives each region its own number.
        count: [R], that number.
    """

    taps: list[tuple[Tensor, Tensor]]
    used: Tensor
    count: Tensor


def _roi_side(start: Tensor, end: Tensor, out: int, size: Tensor, ratio: int, half: bool) -> _RoiSide:
    length = end - start if half else tf.maximum(end - start, 1.0)
    step = length / out
    count = tf.fill(tf.shape(start), float(ratio)) if ratio > 0 else tf.math.ceil(step)
    samples = tf.range(tf.cast(tf.maximum(tf.reduce_max(count), 1.0), tf.int32))  # the maximum of nothing is below 1
    inner = (tf.cast(samples, tf.float32) + 0.5) / tf.maximum(count, 1.0)[:, None]
    cells = tf.range(out, dtype=tf.float32)
    positions = start[:, None, None] + step[:, None, None] * (cells[None, :, None] + inner[:, None, :])
    last = tf.cast(size, tf.float32) - 1.0
    inside = tf.cast(tf.logical_and(positions >= -1.0, positions <= last + 1.0), tf.float32)
    x = tf.clip_by_value(positions, 0.0, last)
    base = tf.floor(x)
    taps = [
        (tf.cast(base, tf.int32), (1.0 - (x - base)) * inside),
        (tf.cast(tf.minimum(base + 1.0, last), tf.int32), (x - base) * inside),
    ]
    return _RoiSide(taps, tf.cast(tf.cast(samples, tf.float32)[None] < count[:, None], tf.float32), count)


def _pooled_rois(data: Tensor, batch: Tensor, rows: _RoiSide, columns: _RoiSide, mode: str) -> Tensor:
    """Pool the regions to [R, out_h, out_w, C]; the maximum is over weighted taps, as ONNX defines it."""
    shape = tf.shape(data)
    flat = tf.cast(tf.reshape(data, tf.stack([-1, shape[-1]])), tf.float32)
    first = tf.cast(batch, tf.int32)[:, None, None] * shape[1]
    parts = []
    for (y, wy), (x, wx) in itertools.product(rows.taps, columns.taps):
        index = (first + y)[:, :, None, :, None] * shape[2] + x[:, None, :, None, :]
        weight = wy[:, :, None, :, None] * wx[:, None, :, None, :]
        parts.append(tf.gather(flat, index) * weight[..., None])
    used = (rows.used[:, None, None, :, None] * columns.used[:, None, None, None, :])[..., None]
    if mode == "max":
        largest = tf.reduce_max(tf.stack(parts), 0)
        return tf.reduce_max(tf.where(used > 0, largest, largest.dtype.min), [3, 4])
    count = tf.maximum(rows.count * columns.count, 1.0)[:, None, None, None]
    return tf.reduce_sum(tf.add_n(parts) * used, [3, 4]) / count


@op("DeformConv", layout=AxisPolicy.VALUES)
def deform_conv(
    ctx: Context, x: Value, w: Value, offset: Value, bias: Value | None = None, mask: Value | None = None, *,
    dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
    offset_group: int = 1, pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower DeformConv: x [N, C, H, W], w [M, C/group, kh, kw], offset [N, 2*offset_group*kh*kw, oh, ow].

    Returns [N, M, oh, ow].
    """
    if len(x.shape) != 4:
        raise ctx.reject(
            f"DeformConv is supported over 2 spatial dims, not {len(x.shape) - 2}; the limit is tfbundle's.",
            fix="express the line with other PyTorch operations, or provide a handler of your own with --ops",
        )
    order = channels_last(4)
    data = x.in_order(order)
    sizes = tf.shape(w.tensor)
    out_channels, per_group, kh, kw = (sizes[i] if n is None else n for i, n in enumerate(w.shape))
    offsets = tf.transpose(offset.tensor, [0, 2, 3, 1])
    batch, height, width = (tf.shape(offsets)[i] for i in range(3))
    moved = tf.reshape(offsets, [batch, height, width, offset_group, kh * kw, 2])
    grid = _kernel_grid(height, width, (kh, kw), strides or (1, 1), dilations or (1, 1), pads or (0, 0))
    points = moved + grid[:, :, None]
    axes = [_Axis.of(tf.shape(data)[1 + i], True) for i in range(2)]
    columns = []
    for g, part in enumerate(tf.split(data, offset_group, -1)):
        coordinates = [tf.reshape(points[:, :, :, g, :, i], [batch, -1]) for i in range(2)]
        sampled = _sample(part, axes, coordinates, "linear", "zeros")
        sampled = tf.reshape(sampled, [batch, height, width, kh * kw, tf.shape(part)[-1]])
        if mask is not None:
            weights = tf.reshape(tf.transpose(mask.tensor, [0, 2, 3, 1]), [batch, height, width, offset_group, kh * kw])
            sampled *= weights[:, :, :, g, :, None]
        columns.append(sampled)
    patches = tf.concat(columns, -1)
    kernels = tf.reshape(w.tensor, [group, out_channels // group, per_group, kh * kw])
    results = [
        tf.einsum("nhwkc,mck->nhwm", p, kernels[g]) for g, p in enumerate(tf.split(patches, group, -1))
    ]
    result = results[0] if group == 1 else tf.concat(results, -1)
    return ctx.value(result if bias is None else tf.nn.bias_add(result, bias.tensor), order)


def _kernel_grid(
    height: Tensor, width: Tensor, kernel: Sequence[int | Tensor], stride: Sequence[int], dilation: Sequence[int],
    pads: Sequence[int],
) -> Tensor:  # fmt: skip
    """Return where an undeformed kernel reads, [oh, ow, kh*kw, 2]."""
    lines = []
    for i, size in enumerate((height, width)):
        taps = tf.cast(tf.range(kernel[i]) * dilation[i], tf.float32)
        starts = tf.cast(tf.range(size) * stride[i] - pads[i], tf.float32)
        lines.append(starts[:, None] + taps)
    rows = lines[0][:, None, :, None] + tf.zeros_like(lines[1])[None, :, None, :]
    columns = lines[1][None, :, None, :] + tf.zeros_like(lines[0])[:, None, :, None]
    grid = tf.stack([rows, columns], -1)
    return tf.reshape(grid, [height, width, kernel[0] * kernel[1], 2])
