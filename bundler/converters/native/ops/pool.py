"""Pooling, channels last.

https://onnx.ai/onnx/operators/onnx__MaxPool.html, https://onnx.ai/onnx/operators/onnx__AveragePool.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.context import Context
from bundler.converters.native.dims import Dim, Element, add, from_sizes, larger, pad_pairs, subtract, tensor_of
from bundler.converters.native.nodes import is_read
from bundler.converters.native.ops.half import in_single, single
from bundler.converters.native.ops.padding import Padding, resolve_padding
from bundler.converters.native.ops.unpool import max_with_indices
from bundler.converters.native.orders import channels_last
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


@op("MaxPool", layout=AxisPolicy.VALUES)
def max_pool(
    ctx: Context, x: Value, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int], pads: Sequence[int] | None = None, storage_order: int = 0,
    strides: Sequence[int] | None = None,
) -> Value | list[Value]:  # fmt: skip
    """Lower MaxPool; with explicit paddings if TensorFlow's kernel takes them, otherwise over padded data."""
    window = _Window.of(ctx, x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    if ctx.node is not None and any(map(is_read, ctx.node.outputs[1:])):
        return _max_pool_with_indices(ctx, x, window, bool(storage_order))
    room = _unknown_room(ctx, window)
    data = _large_enough(x.in_order(window.order), window, room) if room else x.in_order(window.order)
    if window.is_native and ctx.target == "serving" and data.dtype.is_floating:
        data, mode = window.padding.apply(data, "serving")
        padding = mode if isinstance(mode, str) else "EXPLICIT"
        explicit = [] if isinstance(mode, str) else [p for pair in mode for p in pair]
        result = tf.raw_ops.MaxPool(
            input=data, ksize=[1, *window.kernel, 1], strides=[1, *window.stride, 1], padding=padding,
            explicit_paddings=explicit,
        )  # fmt: skip
    else:
        data, mode = _padded_for_max(data, window, x.non_negative)
        by_planes = (
            ctx.target == "tflite" and window.count == 3 and set(window.dilation) == {1} and data.dtype.is_floating
        )
        result = _by_planes(data, window, "MAX", mode) if by_planes else _pool(data, window, "MAX", mode)
    return _with_sign_of(x, ctx.value(_without_rows(result, window, room) if room else result, window.order))


def _unknown_room(ctx: Context, window: _Window) -> list[Element]:
    """Return how many positions beside the first the window has along each axis; nothing if that is known at build time."""
    if window.padding.same or ctx.target == "tflite":
        return []
    begin, end = window.pads
    room = [
        subtract(add(add(n, b), add(e, extra)), (k - 1) * d + 1)
        for n, b, e, extra, k, d in zip(
            window.sizes, begin, end, window.extra, window.kernel, window.dilation, strict=True
        )
    ]  # fmt: skip
    return room if any(isinstance(size, Dim) for size in room) else []


def _large_enough(data: Tensor, window: _Window, room: Sequence[Element]) -> Tensor:
    """Return the data; at run time, with an error if the window is larger than they are.

    oneDNN's MaxPool divides by zero then, which ends the process. A batch of 0 has no elements, so its images may be declared
    as large as the window.
    """
    unknown = tf.stack([size.tensor for size in room if isinstance(size, Dim)])
    text = "MaxPool has a window that is larger than its input, which has the shape"
    sizes = tf.shape(data)
    fits = tf.logical_or(tf.reduce_min(unknown) >= 0, tf.equal(sizes[0], 0))
    check = tf.debugging.Assert(fits, [text, sizes], summarize=5)
    with tf.control_dependencies([check]):
        grown = [
            tensor_of(add(n, from_sizes("short", lambda r: larger(-r, 0), r)))
            for n, r in zip(window.sizes, room, strict=True)
        ]
        shape = tf.concat([sizes[:1], tf.cast(tf.stack(grown), tf.int32), sizes[-1:]], 0)
        known = [None if isinstance(r, Dim) else size for size, r in zip(data.shape[1:-1], room, strict=True)]
        return tf.ensure_shape(tf.reshape(data, shape), [data.shape[0], *known, data.shape[-1]])


def _without_rows(result: Tensor, window: _Window, room: Sequence[Element]) -> Tensor:
    """Return the result for a batch of 0 with the sizes that images smaller than the window have by ONNX's formula."""
    sizes = tf.shape(result)
    spatial = [
        tensor_of(from_sizes(f"windows_of_{s}", lambda r, s=s: larger(r // s + 1, 0), r))
        for r, s in zip(room, window.stride, strict=True)
    ]
    shape = tf.concat([sizes[:1], tf.cast(tf.stack(spatial), tf.int32), sizes[-1:]], 0)
    return tf.ensure_shape(tf.reshape(result, shape), result.shape)


def _with_sign_of(x: Value, result: Value) -> Value:
    result.non_negative = x.non_negative
    return result


def _max_pool_with_indices(ctx: Context, x: Value, window: _Window, column_major: bool) -> list[Value]:
    begin, end = window.pads
    end = [add(e, extra) for e, extra in zip(end, window.extra, strict=True)]
    results = max_with_indices(x.tensor, window.sizes, window, begin, end, column_major)
    return [ctx.value(t) for t in results]


@op("AveragePool", layout=AxisPolicy.VALUES)
def average_pool(
    ctx: Context, x: Value, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Sequence[int] | None = None, kernel_shape: Sequence[int], pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower AveragePool: the mean of each window; pads count if count_include_pad is set."""
    window = _Window.of(ctx, x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    means = in_single(_average)(x.in_order(window.order), window, include_pads=bool(count_include_pad))
    return _with_sign_of(x, ctx.value(means, window.order))


def _average(data: Tensor, window: _Window, *, include_pads: bool) -> Tensor:
    padding = window.padding
    by_same = padding.same and not include_pads and set(window.dilation) == {1}
    if by_same or (padding.is_zero and not any(window.extra)):
        return _pool(data, window, "AVG", "SAME" if padding.same else "VALID")
    return _average_of_padded(data, window, include_pads)


def _average_of_padded(data: Tensor, window: _Window, include_pads: bool) -> Tensor:
    """Sum over the zero-padded data and divide by how many elements of each window count.

    Rows that only ceil_mode adds never count; the pads of the model count if `include_pads`.
    """
    means = _mean_with_zeros(data, window)
    if include_pads and not any(window.extra):
        return means
    begin, end = window.pads
    ones = tf.ones_like(data[:1, ..., :1])
    if include_pads:
        ones = tf.pad(ones, _spatial_pairs(begin, end), constant_values=1)
        begin, end = [0] * window.count, list(window.extra)
    else:
        end = [add(e, x) for e, x in zip(end, window.extra, strict=True)]
    return means / _pool(tf.pad(ones, _spatial_pairs(begin, end)), window.without_pads, "AVG", "VALID")


def _mean_with_zeros(data: Tensor, window: _Window) -> Tensor:
    """Return the means of the windows over the data with all pads, which are zeros and count."""
    begin, end = window.pads
    end = [add(e, x) for e, x in zip(end, window.extra, strict=True)]
    padded = tf.pad(data, _spatial_pairs(begin, end)) if any(begin) or any(end) else data
    return _pool(padded, window.without_pads, "AVG", "VALID")


def _spatial_pairs(begin: Sequence[Element], end: Sequence[Element]) -> Any:
    """Return the pads of channels-last data for tf.pad."""
    return pad_pairs([[0, 0], *([b, e] for b, e in zip(begin, end, strict=True)), [0, 0]])


@op("GlobalAveragePool", layout=AxisPolicy.SPATIAL)
def global_average_pool(x: Tensor) -> Tensor:
    """Lower GlobalAveragePool: the mean over the spatial axes."""
    return in_single(tf.reduce_mean)(x, list(range(1, x.shape.rank - 1)), keepdims=True)


@op("GlobalMaxPool", layout=AxisPolicy.SPATIAL)
def global_max_pool(x: Tensor) -> Tensor:
    """Lower GlobalMaxPool: the maximum over the spatial axes."""
    return tf.reduce_max(x, list(range(1, x.shape.rank - 1)), keepdims=True)


@op("GlobalLpPool", layout=AxisPolicy.SPATIAL)
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """Lower GlobalLpPool: (sum |x|^p)^(1/p) over the spatial axes."""
    powers = tf.pow(tf.abs(single(x)), p)
    sums = tf.reduce_sum(powers, list(range(1, x.shape.rank - 1)), keepdims=True)
    return tf.cast(tf.pow(sums, 1.0 / p), x.dtype)


@op("LpPool", layout=AxisPolicy.VALUES)
def lp_pool(
    ctx: Context, x: Value, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int], p: int = 2, pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower LpPool: (sum |x|^p)^(1/p), from the mean of |x|^p; pads add nothing to the sum."""
    window = _Window.of(ctx, x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    data = x.in_order(window.order)
    means = _mean_with_zeros(tf.pow(tf.abs(single(data)), p), window)
    return ctx.value(tf.cast(tf.pow(means * float(np.prod(kernel_shape)), 1.0 / p), data.dtype), window.order)


@dataclass(frozen=True)
class _Window:
    """The window of a pool: its geometry and the pads of its input.

    Attributes:
        sizes: the spatial sizes of the input.
        extra: rows added at the end of each axis so that rounding down gives what ceil_mode rounds up.
    """

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    padding: Padding
    order: tuple[int, ...]
    sizes: tuple[Element, ...]
    extra: tuple[Element, ...]

    @classmethod
    def of(
        cls, ctx: Context, x: Value, kernel: Sequence[int], strides: Sequence[int] | None,
        dilations: Sequence[int] | None, auto_pad: str, pads: Sequence[int] | None, ceil_mode: int,
    ) -> _Window:  # fmt: skip
        """Return the window that the attributes of a pool over x describe."""
        count = len(kernel)
        stride, dilation = list(strides or [1] * count), list(dilations or [1] * count)
        sizes = tuple(ctx.sizes(x)[2:])
        padding = resolve_padding(auto_pad, pads, sizes, kernel, stride, dilation)
        extra: tuple[Element, ...] = (0,) * count
        if ceil_mode and not padding.same and auto_pad == "NOTSET":
            extra = tuple(
                _ceil_extra(n, k, s, d, b, e)
                for n, k, s, d, b, e in zip(sizes, kernel, stride, dilation, padding.begin, padding.end, strict=True)
            )
        return cls(list(kernel), stride, dilation, padding, channels_last(count + 2), sizes, extra)

    @property
    def count(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def is_native(self) -> bool:
        """Whether TensorFlow's MaxPool kernel supports this window."""
        return self.count == 2 and set(self.dilation) == {1} and not any(self.extra) and not self.padding.is_dynamic

    @property
    def without_pads(self) -> _Window:
        """The window over data that have been padded."""
        return replace(self, padding=Padding((0,) * self.count, (0,) * self.count), extra=(0,) * self.count)

    @property
    def pads(self) -> tuple[list[Element], list[Element]]:
        """The pads before and after each axis, those too that SAME stands for, without the extra rows of ceil_mode."""
        padding = self.padding.explicit(self.sizes, self.kernel, self.stride, self.dilation)
        return list(padding.begin), list(padding.end)


def _ceil_extra(size: Element, kernel: int, stride: int, dilation: int, begin: Element, end: Element) -> Element:
    def extra(n: Any, begin: Any, end: Any) -> Any:
        span = n + begin + end - (kernel - 1) * dilation - 1
        steps = -(-span // stride)  # the last window, which must not begin in the padding at the end
        steps = -larger(-steps, -((n + begin - 1) // stride))
        return larger(steps * stride - span, 0)

    return from_sizes(f"ceil_{kernel}_{stride}_{dilation}", extra, size, begin, end)


def _padded_for_max(data: Tensor, window: _Window, non_negative: bool) -> tuple[Tensor, str]:
    """Pad with numbers that cannot be a maximum: zero after a Relu, otherwise the border, which is in the window anyway.

    If neither is possible, the dtype's lowest number is used, which spoils the ranges that int8 calibration observes.
    """
    if window.padding.same and set(window.dilation) == {1}:
        return data, "SAME"
    begin, end = window.pads
    known = [p for p in (*begin, *end) if isinstance(p, int)]
    reaches_border = len(known) == 2 * window.count and all(
        p < k for p, k in zip(known, window.kernel * 2, strict=True)
    )
    end = [add(e, x) for e, x in zip(end, window.extra, strict=True)]
    if not any(begin) and not any(end):
        return data, "VALID"
    if non_negative:
        return tf.pad(data, _spatial_pairs(begin, end)), "VALID"
    repeats = [
        (0, 0),
        *((b, e) for b, e in zip(begin, end, strict=True) if isinstance(b, int) and isinstance(e, int)),
        (0, 0),
    ]
    if reaches_border and len(repeats) == window.count + 2 and set(window.dilation) == {1}:
        return _border_repeated(data, repeats), "VALID"
    return tf.pad(data, _spatial_pairs(begin, end), constant_values=data.dtype.min), "VALID"


def _by_planes(data: Tensor, window: _Window, kind: str, mode: str) -> Tensor:
    """Pool over the last two of three spatial axes, then over the first.

    TensorFlow has no kernels over three axes for float16 and float64, and TFLite has no such operators. Means are the same too,
    because each plane in a window has the same number of elements.
    """
    pool = tf.nn.max_pool2d if kind == "MAX" else tf.nn.avg_pool2d
    batch, depth, height, width, channels = ranks.sizes_of(data)
    planes = ranks.reshaped(data, [batch * depth, height, width, channels])
    planes = pool(planes, window.kernel[1:], window.stride[1:], mode)
    _, height, width, _ = ranks.sizes_of(planes)
    columns = ranks.reshaped(planes, [batch, depth, height * width, channels])
    columns = pool(columns, [window.kernel[0], 1], [window.stride[0], 1], mode)
    return ranks.reshaped(columns, [batch, ranks.sizes_of(columns)[1], height, width, channels])


def _border_repeated(data: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Repeat the border by concatenation: XNNPACK supports that, but not MIRROR_PAD."""
    for axis, (begin, end) in enumerate(pairs):
        if begin or end:
            edges: list[list[slice]] = [[slice(None)] * data.shape.rank for _ in range(2)]
            edges[0][axis], edges[1][axis] = slice(0, 1), slice(-1, None)
            first, last = (data[tuple(edge)] for edge in edges)
            data = tf.concat([*[first] * begin, data, *[last] * end], axis)
    return data


def _pool(data: Tensor, window: _Window, kind: str, mode: str) -> Tensor:
    """Pool over 1, 2 or 3 spatial dims; integers are pooled as float32, which has a kernel and is exact for 8 bits."""
    if not data.dtype.is_floating:
        return tf.cast(_pool(tf.cast(data, tf.float32), window, kind, mode), data.dtype)
    if set(window.dilation) == {1} and window.count in (1, 2, 3):
        if window.count == 1:
            wide = tf.expand_dims(data, 1)
            pool = tf.nn.max_pool2d if kind == "MAX" else tf.nn.avg_pool2d
            return tf.squeeze(pool(wide, [1, *window.kernel], [1, *window.stride], mode), 1)
        if window.count == 3 and data.dtype not in (tf.float32, tf.bfloat16):
            return _by_planes(data, window, kind, mode)
        pools = {
            ("MAX", 2): tf.nn.max_pool2d, ("MAX", 3): tf.nn.max_pool3d,
            ("AVG", 2): tf.nn.avg_pool2d, ("AVG", 3): tf.nn.avg_pool3d,
        }  # fmt: skip
        return pools[kind, window.count](data, window.kernel, window.stride, mode)
    if set(window.stride) == {1}:
        return tf.nn.pool(data, window.kernel, kind, padding=mode, dilations=window.dilation)
    whole = tf.nn.pool(data, window.kernel, kind, padding="VALID", dilations=window.dilation)
    strided = (slice(None), *(slice(None, None, s) for s in window.stride), slice(None))
    return whole[strided]
