"""Convolutions, in 1, 2 and 3 spatial dimensions, channels last. https://onnx.ai/onnx/operators/onnx__Conv.html"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.lowering import read_once
from bundler.converters.native.ops.dilation import dilated
from bundler.converters.native.ops.fake_quantize import on_its_steps
from bundler.converters.native.ops.padding import Padding, resolve_padding
from bundler.converters.native.ops.pointwise import convolve_pointwise, is_pointwise, offer_channels_first
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.value import Tensor, Value, channels_last


@op("Conv", layout=AxisPolicy.VALUES)
def conv(
    ctx: Context,
    x: Value,
    w: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:
    """x [N, C, spatial…], w [M, C/group, kernel…], bias [M]."""
    spatial = len(w.shape) - 2
    kernel = [static(k) for k in (kernel_shape or w.shape[2:])]
    stride = list(strides or [1] * spatial)
    dilation = list(dilations or [1] * spatial)
    order = channels_last(spatial + 2)
    data = x.in_order(order)
    channels = static(w.shape[1]) * group
    data = tf.ensure_shape(data, [*data.shape[:-1], channels]) if data.shape[-1] is None else data
    padding = resolve_padding(auto_pad, pads, data.shape[1:-1].as_list(), kernel, stride, dilation)
    window = Window(stride, dilation, group, padding)
    splits = _splits(ctx, x, w, window)
    if not splits and is_pointwise(ctx, w, kernel, stride, padding, group):
        value = convolve_pointwise(ctx, x, w, bias)
        offer_channels_first(ctx, value, x, w, bias)
        return value
    *others, (last, kernels) = _pieces(ctx, x, w) if splits else [(data, w)]
    result = _convolve(ctx, last, kernels, window)
    if bias is not None:
        result = result + bias.tensor if _fused_cannot(ctx, window, static(data.shape[-1])) else add_bias(result, bias.tensor)
    for piece, part in others:
        result = tf.add_n([result, _convolve(ctx, piece, part, window)])
    return ctx.value(result, order)


def static(size: int | None) -> int:
    if size is None:
        raise ValueError("the shape of its weight is not known at build time")
    return size


def add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """BiasAdd, which TensorFlow fuses into the convolution before it, where an Add is not."""
    return tf.nn.bias_add(x, bias) if x.shape.rank in (2, 3, 4, 5) and x.dtype.is_floating else x + bias


@dataclass(frozen=True)
class Window:
    """How a kernel walks over the data."""

    stride: list[int]
    dilation: list[int]
    group: int
    padding: Padding

    def lifted(self) -> Window:
        """Of a one-dimensional convolution, run with a height of 1."""
        return Window([1, *self.stride], [1, *self.dilation], self.group, self.padding.lifted())


MANY_PIXELS = 4096
"""From which on two convolutions are faster than one over a concatenation (benchmarks/forms.py)."""


def _splits(ctx: Context, x: Value, w: Value, window: Window) -> bool:
    """Two images of at least MANY_PIXELS that are concatenated for this convolution alone, at serving.

    conv(concat(a, b)) is conv(a) + conv(b), and up to 40 % faster then: the concatenation is not made, and TensorFlow fuses
    the sum into the second convolution.
    """
    if len(x.parts) != 2 or ctx.target != "serving" or window.group != 1 or w.array is None or len(w.shape) != 4:
        return False
    if ctx.node is None or not read_once(ctx.node.inputs[0]):
        return False
    height, width = x.shape[2:]
    known = all(isinstance(part.shape[1], int) for part in x.parts)
    return known and height is not None and width is not None and height * width >= MANY_PIXELS


def _pieces(ctx: Context, x: Value, w: Value) -> list[tuple[Tensor, Value]]:
    """The parts of x, channels last, each with its channels of the weight."""
    assert w.array is not None
    pieces, begin = [], 0
    for part in x.parts:
        end = begin + static(part.shape[1])
        kernels = ctx.constant(w.array[:, begin:end])
        kernels.name = w.name
        pieces.append((part.in_order(channels_last(4)), kernels))
        begin = end
    return pieces


def _convolve(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    spatial = len(window.stride)
    if spatial > 3:
        raise ValueError(f"convolutions over {spatial} spatial dims are not supported by TensorFlow (1, 2 and 3 are)")
    if spatial == 1:
        return tf.squeeze(_convolve_lifted(ctx, tf.expand_dims(data, 1), w, window.lifted()), 1)
    return _convolve_lifted(ctx, data, w, window)


def _convolve_lifted(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    stride, dilation = window.stride, window.dilation
    if len(stride) == 3:
        return _conv3d(ctx, data, w, window)
    if is_depthwise(window, data.shape[-1]):
        return _depthwise(ctx, data, w, window)
    data, mode = window.padding.apply(data, ctx.target)
    return tf.nn.conv2d(data, filters_of(ctx, w, (2, 3, 1, 0)), stride, mode, dilations=dilation)


def _fused_cannot(ctx: Context, window: Window, channels: int) -> bool:
    """TensorFlow's optimiser fuses a BiasAdd with any convolution, and without oneDNN then fails on one in groups; an Add it
    fuses only with oneDNN, which can."""
    return ctx.target == "serving" and window.group > 1 and not is_depthwise(window, channels)


def is_depthwise(window: Window, channels: int) -> bool:
    """Whether DepthwiseConv2dNative takes it: one stride for both axes, and a stride or a dilation, not both."""
    stride = window.stride[-2:] if len(window.stride) > 1 else [1, *window.stride]
    return window.group > 1 and window.group == channels and len(window.stride) < 3 and len(set(stride)) == 1 and (
        set(stride) == {1} or set(window.dilation) == {1}
    )


def filters_of(ctx: Context, w: Value, permutation: tuple[int, ...]) -> Tensor:
    """The weight with its axes permuted; one-dimensional kernels get a height of 1 first."""
    if len(w.shape) == 3:
        if w.array is not None:
            moved = np.ascontiguousarray(w.array[:, :, None, :].transpose(permutation))
            return on_its_steps(ctx, w, ctx.weight(moved, w.name))
        return tf.transpose(tf.expand_dims(w.tensor, 2), permutation)
    if w.array is not None:
        return on_its_steps(ctx, w, ctx.weight(np.ascontiguousarray(w.array.transpose(permutation)), w.name))
    return tf.transpose(w.tensor, permutation)


def _depthwise(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    """w [C*m, 1, kh, kw] -> filter [kh, kw, C, m]: output channel c*m + j in both.

    Pads are put in front of the op: given as its explicit paddings they make TensorFlow's own graph optimiser abort the
    process (2.21, shape inference inside the memory optimiser). Where a row of zeros at the kernel's end turns them into
    SAME, that is done instead: a separate Pad costs more than the zeros do.
    """
    if data.dtype in (tf.float16, tf.bfloat16):  # TensorFlow's kernel would add up in half precision
        wide = ctx.value(tf.cast(w.tensor, tf.float32)) if w.array is None else ctx.constant(w.array.astype(np.float32))
        single = _depthwise(ctx, tf.cast(data, tf.float32), wide, window)
        return tf.cast(single, data.dtype)
    stride, dilation, group, padding = window.stride, window.dilation, window.group, window.padding
    multiplier = static(w.shape[0]) // group
    kernel = [1, *w.shape[2:]] if len(w.shape) == 3 else list(w.shape[2:])
    shape = [group, multiplier, *kernel]
    if w.array is not None:
        array = w.array.reshape(shape).transpose(2, 3, 0, 1)
        grown = padding.same_with_zeros(data.shape.as_list()[1:-1], kernel, stride, dilation)
        if grown is not None and ctx.target == "serving":
            array = np.pad(array, [(0, grown[0]), (0, grown[1]), (0, 0), (0, 0)])
            padding = Padding(padding.begin, padding.end, same=True)
        by_channel = np.ascontiguousarray(array.reshape(*array.shape[:2], -1))
        filters = tf.reshape(on_its_steps(ctx, w, ctx.weight(by_channel, w.name)), array.shape)
    else:
        filters = tf.transpose(tf.reshape(w.tensor, shape), [2, 3, 0, 1])
    data, mode = padding.apply(data, "tflite")

    def convolved(image: Tensor, mode: str, dilation: Sequence[int] = (1, 1)) -> Tensor:
        return tf.raw_ops.DepthwiseConv2dNative(
            input=image, filter=filters, strides=[1, *stride, 1], padding=mode, dilations=[1, *dilation, 1]
        )

    if ctx.target == "serving" and set(dilation) != {1}:
        return in_batches(data, dilation, mode, filters.shape[:2].as_list(), convolved)
    return convolved(data, mode, dilation)


def in_batches(
    data: Tensor, dilation: Sequence[int], mode: str, kernel: Sequence[int], convolve: Callable[[Tensor, str], Tensor]
) -> Tensor:
    """A dilated convolution of stride 1 as one without dilation over every d-th element, these as further rows of the batch.

    TensorFlow's own depthwise and 3-D kernels take no dilation; oneDNN's do, but TensorFlow uses oneDNN only where the CPU has
    AVX-512 VNNI, and a SavedModel has to run on both. Depthwise it is as fast as oneDNN's dilated kernel (docs/architecture.md).
    """
    return tf.nn.with_space_to_batch(
        data, list(dilation), mode, lambda image, _, inner: convolve(image, inner), filter_shape=list(kernel)
    )


def _conv3d(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    """Conv3D has no explicit paddings, no groups and, without oneDNN, no dilation on CPU."""
    stride, dilation, group = window.stride, window.dilation, window.group
    data, mode = window.padding.apply(data, "tflite")
    spaced = ctx.target == "serving" and set(dilation) != {1}
    in_parts = spaced and set(stride) == {1}
    weight = dilated(ctx, w, dilation) if spaced and not in_parts else w
    filters = filters_of(ctx, weight, (2, 3, 4, 1, 0))
    steps = [1, 1, 1] if spaced else dilation

    def convolved(image: Tensor, mode: str) -> Tensor:
        parts = (
            zip(tf.split(image, group, -1), tf.split(filters, group, -1), strict=True) if group > 1 else [(image, filters)]
        )
        results = [tf.nn.conv3d(d, f, [1, *stride, 1], mode, dilations=[1, *steps, 1]) for d, f in parts]
        return results[0] if group == 1 else tf.concat(results, -1)

    return in_batches(data, dilation, mode, filters.shape[:3].as_list(), convolved) if in_parts else convolved(data, mode)
