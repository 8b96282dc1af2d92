"""Convolutions in 1, 2 and 3 spatial dimensions, channels last.

https://onnx.ai/onnx/operators/onnx__Conv.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.dims import Element, divide, from_sizes, full_shape, tensor_shape
from bundler.converters.native.nodes import is_read_once
from bundler.converters.native.ops.conv_integer import convolve_integers
from bundler.converters.native.ops.depthwise_tiles import MOST_WEIGHTS, convolve_in_tiles
from bundler.converters.native.ops.dilation import dilated
from bundler.converters.native.ops.fake_quantize import quantized_weight
from bundler.converters.native.ops.half import in_single, is_half
from bundler.converters.native.ops.padding import Padding, resolve_padding
from bundler.converters.native.ops.pointwise import convolve_pointwise, is_pointwise, offer_channels_first
from bundler.converters.native.orders import channels_last
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor, with_axis, without_axis
from bundler.converters.native.value import Value


@op("Conv", layout=AxisPolicy.VALUES)
def conv(
    ctx: Context, x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower Conv of x [N, C, spatial…] with w [M, C/group, kernel…] and bias [M]; the form is chosen by shape."""
    spatial = len(w.shape) - 2
    kernel = list(kernel_shape or ctx.sizes(w)[2:])
    stride = list(strides or [1] * spatial)
    dilation = list(dilations or [1] * spatial)
    order = channels_last(spatial + 2)
    data = x.in_order(order)
    if data.shape[-1] is None and w.shape[1] is not None:
        data = tf.ensure_shape(data, [*data.shape[:-1], w.shape[1] * group])
    padding = resolve_padding(auto_pad, pads, ctx.sizes(x)[2:], kernel, stride, dilation)
    if data.dtype.is_integer:
        numbers = padding.explicit(ctx.sizes(x)[2:], kernel, stride, dilation)
        sums = convolve_integers(data, w.tensor, numbers, stride, dilation, group)
        return ctx.value(sums if bias is None else sums + bias.tensor, order)
    window = Window(stride, dilation, group, padding)
    if 0 in w.shape:  # TensorFlow's kernels divide by the size of their filter
        nothing = tf.zeros(full_shape(_output_sizes(ctx, x, w, window, kernel)), data.dtype)
        return ctx.value(nothing if bias is None else nothing + bias.tensor, order)
    splits = _splits(ctx, x, w, window)
    if not splits and is_pointwise(ctx, w, kernel, stride, padding, group):
        value = convolve_pointwise(ctx, x, w, bias)
        offer_channels_first(ctx, value, x, w, bias)
        return value
    if _is_cut(ctx, data, w, window):
        explicit = padding.explicit(ctx.sizes(x)[2:], kernel, stride, dilation)
        return ctx.value(_cut(ctx, data, w, bias, Window(stride, dilation, group, explicit)), order)
    *others, (last, kernels) = _pieces(ctx, x, w) if splits else [(data, w)]
    result = _convolve(ctx, last, kernels, window)
    sizes, takes_sum = _output_sizes(ctx, x, w, window, kernel), False
    if _runs_in_batches(ctx, window, data.shape[-1]):
        result = ctx.convolved(result, sizes, order).stored
    if bias is not None:
        unsafe = _is_unsafe_to_fuse(ctx, window, data.shape[-1])
        result = result + bias.tensor if unsafe else add_bias(result, bias.tensor)
        takes_sum = not unsafe and spatial == 2 and not others and result.dtype == tf.float32
    for piece, part in others:
        result = tf.add_n([result, _convolve(ctx, piece, part, window)])
    return ctx.convolved(result, sizes, order, takes_sum=takes_sum)


def _output_sizes(ctx: Context, x: Value, w: Value, window: Window, kernel: Sequence[Element]) -> list[Element]:
    """Return the sizes of the result, channels last."""
    batch, _, *spatial = ctx.sizes(x)
    padding = window.padding
    steps = zip(spatial, kernel, window.stride, window.dilation, padding.begin, padding.end, strict=True)
    return [batch, *(output_size(*step, same=padding.same) for step in steps), ctx.dim(w, 0)]


def output_size(
    n: Element, kernel: Element, stride: int, dilation: int, begin: Element, end: Element, *, same: bool
) -> Element:
    """Return how many windows fit into n elements with these pads."""
    if same:
        return from_sizes(f"ceil_{stride}", lambda n: -(-n // stride), n)

    def windows(n: Any, kernel: Any, begin: Any, end: Any) -> Any:
        return (n + begin + end - (kernel - 1) * dilation - 1) // stride + 1

    return from_sizes(f"windows_{dilation}_{stride}", windows, n, kernel, begin, end)


def add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias by channel, if possible as a BiasAdd, which TensorFlow fuses into the convolution."""
    return tf.nn.bias_add(x, bias) if x.shape.rank in (2, 3, 4, 5) and x.dtype.is_floating else x + bias


@dataclass(frozen=True)
class Window:
    """How a kernel moves over the data."""

    stride: list[int]
    dilation: list[int]
    group: int
    padding: Padding

    def lifted(self) -> Window:
        """Return the window of a one-dimensional convolution that runs over images with a height of 1."""
        return Window([1, *self.stride], [1, *self.dilation], self.group, self.padding.lifted())


MANY_PIXELS = 4096
"""Image size from which two convolutions are faster than one over a concatenation (benchmarks/forms.py)."""


def _splits(ctx: Context, x: Value, w: Value, window: Window) -> bool:
    """Whether x is the concatenation of two images of at least MANY_PIXELS that only this convolution reads, for serving.

    conv(concat(a, b)) is conv(a) + conv(b), which is up to 40 % faster: no concatenation is made, and TensorFlow fuses the
    sum into the second convolution.
    """
    if len(x.parts) != 2 or ctx.target != "serving" or window.group != 1 or w.array is None or len(w.shape) != 4:
        return False
    if ctx.node is None or not is_read_once(ctx.node.inputs[0]):
        return False
    height, width = x.shape[2:]
    known = all(isinstance(part.shape[1], int) for part in x.parts)
    return known and height is not None and width is not None and height * width >= MANY_PIXELS


def _pieces(ctx: Context, x: Value, w: Value) -> list[tuple[Tensor, Value]]:
    """Return the parts of x, channels last, each with its channels of the weight."""
    assert w.array is not None
    pieces, begin = [], 0
    for part in x.parts:
        end = begin + (part.shape[1] or 0)
        kernels = ctx.constant(w.array[:, begin:end])
        kernels.name = w.name
        pieces.append((part.in_order(channels_last(4)), kernels))
        begin = end
    return pieces


def _convolve(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    spatial = len(window.stride)
    if spatial > 3:
        raise ValueError(f"TensorFlow supports convolutions over 1, 2 or 3 spatial dims, not {spatial}")
    if spatial == 1:
        return without_axis(_convolve_lifted(ctx, with_axis(data, 1, ctx.target), w, window.lifted()), 1, ctx.target)
    return _convolve_lifted(ctx, data, w, window)


def _convolve_lifted(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    stride, dilation = window.stride, window.dilation
    if len(stride) == 3:
        return _conv3d(ctx, data, w, window)
    if is_depthwise(window, data.shape[-1]):
        return _depthwise(ctx, data, w, window)
    data, mode = window.padding.apply(data, ctx.target)
    return tf.nn.conv2d(data, filters_of(ctx, w, (2, 3, 1, 0)), stride, mode, dilations=dilation)


def _is_unsafe_to_fuse(ctx: Context, window: Window, channels: int | None) -> bool:
    """Whether the bias must be an Add instead of a BiasAdd.

    TensorFlow's optimiser fuses a BiasAdd with any convolution, and then fails on a grouped one without oneDNN. It fuses an
    Add only with oneDNN, which supports groups.
    """
    return ctx.target == "serving" and window.group > 1 and not is_depthwise(window, channels)


def is_depthwise(window: Window, channels: int | None) -> bool:
    """Whether DepthwiseConv2dNative can run it: depthwise, one stride for both axes, and not both a stride and a dilation.

    `channels` is None if their number is known only at run time.
    """
    stride = window.stride[-2:] if len(window.stride) > 1 else [1, *window.stride]
    return window.group > 1 and window.group == channels and len(window.stride) < 3 and len(set(stride)) == 1 and (
        set(stride) == {1} or set(window.dilation) == {1}
    )


def filters_of(ctx: Context, w: Value, permutation: tuple[int, ...]) -> Tensor:
    """Return the weight with its axes permuted; one-dimensional kernels get a height of 1 first."""
    if len(w.shape) == 3:
        if w.array is not None:
            moved = np.ascontiguousarray(w.array[:, :, None, :].transpose(permutation))
            return quantized_weight(ctx, w, ctx.weight(moved, w.name))
        return tf.transpose(tf.expand_dims(w.tensor, 2), permutation)
    if w.array is not None:
        return quantized_weight(ctx, w, ctx.weight(np.ascontiguousarray(w.array.transpose(permutation)), w.name))
    return tf.transpose(w.tensor, permutation)


def _depthwise(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    """Convolve by channel: w [C*m, 1, kh, kw] becomes the filter [kh, kw, C, m] with output channel c*m + j.

    Pads become an op of their own: as explicit paddings they make TensorFlow's graph optimiser abort the process (2.21, shape
    inference inside the memory optimiser). If a row of zeros at the kernel's end turns them into SAME, that is done
    instead: a separate Pad costs more than the zeros.
    """
    if is_half(data.dtype):  # TensorFlow's kernel would accumulate in half precision
        wide = ctx.value(tf.cast(w.tensor, tf.float32)) if w.array is None else ctx.constant(w.array.astype(np.float32))
        single = _depthwise(ctx, tf.cast(data, tf.float32), wide, window)
        return tf.cast(single, data.dtype)
    stride, dilation, group, padding = window.stride, window.dilation, window.group, window.padding
    kernel = [1, *ctx.sizes(w)[2:]] if len(w.shape) == 3 else ctx.sizes(w)[2:]
    shape = [group, divide(ctx.dim(w, 0), group), *kernel]
    if w.array is not None:
        array = w.array.reshape([e for e in shape if isinstance(e, int)]).transpose(2, 3, 0, 1)
        grown = padding.same_with_zeros(data.shape.as_list()[1:-1], kernel, stride, dilation)
        if grown is not None and ctx.target == "serving":
            array = np.pad(array, [(0, grown[0]), (0, grown[1]), (0, 0), (0, 0)])
            padding = Padding(padding.begin, padding.end, same=True)
        by_channel = np.ascontiguousarray(array.reshape(*array.shape[:2], -1))
        filters = tf.reshape(quantized_weight(ctx, w, ctx.weight(by_channel, w.name)), array.shape)
    else:
        filters = tf.transpose(tf.reshape(w.tensor, tensor_shape(shape)), [2, 3, 0, 1])
    data, mode = padding.apply(data, "tflite")

    def convolved(image: Tensor, mode: str, dilation: Sequence[int] = (1, 1)) -> Tensor:
        return tf.raw_ops.DepthwiseConv2dNative(
            input=image, filter=filters, strides=[1, *stride, 1], padding=mode, dilations=[1, *dilation, 1]
        )

    if ctx.target == "serving" and set(dilation) != {1}:
        return in_batches(data, dilation, mode, filters.shape[:2].as_list(), convolved)
    return convolved(data, mode, dilation)


def _is_cut(ctx: Context, data: Tensor, w: Value, window: Window) -> bool:
    """Whether a depthwise convolution for TFLite runs in parts, because its kernel is large."""
    if ctx.target != "tflite" or w.array is None or w.quant_params is not None or not is_depthwise(window, data.shape[-1]):
        return False
    return bool(data.dtype == tf.float32) and w.array[0, 0].size > MOST_WEIGHTS


def _cut(ctx: Context, data: Tensor, w: Value, bias: Value | None, window: Window) -> Tensor:
    assert w.array is not None
    if len(window.stride) == 1:
        lifted = ctx.constant(w.array[:, :, None])
        return without_axis(_cut(ctx, with_axis(data, 1, ctx.target), lifted, bias, window.lifted()), 1, ctx.target)
    filters = w.array.reshape(window.group, -1, *w.array.shape[2:]).transpose(2, 3, 0, 1)
    added = None if bias is None else bias.tensor
    return convolve_in_tiles(ctx, data, filters, added, window.padding, window.stride, window.dilation)


def _runs_in_batches(ctx: Context, window: Window, channels: int | None) -> bool:
    """Whether `in_batches` runs the convolution; then nothing is fused into it."""
    three = len(window.stride) == 3 and set(window.stride) == {1}
    return ctx.target == "serving" and set(window.dilation) != {1} and (three or is_depthwise(window, channels))


def in_batches(
    data: Tensor, dilation: Sequence[int], mode: str, kernel: Sequence[int], convolve: Callable[[Tensor, str], Tensor]
) -> Tensor:
    """Run a dilated convolution of stride 1 as one without dilation, with every d-th element in a batch row of its own.

    TensorFlow's depthwise and 3-D kernels take no dilation. oneDNN's do, but TensorFlow uses oneDNN only on CPUs with AVX-512
    VNNI, and a SavedModel must run on all. A depthwise one is as fast as oneDNN's dilated kernel (docs/architecture.md).
    """
    return tf.nn.with_space_to_batch(
        data, list(dilation), mode, lambda image, _, inner: convolve(image, inner), filter_shape=list(kernel)
    )


def _conv3d(ctx: Context, data: Tensor, w: Value, window: Window) -> Tensor:
    """Convolve in three dimensions: Conv3D has no explicit paddings, no groups and, without oneDNN, no dilation on CPU."""
    stride, dilation, group = window.stride, window.dilation, window.group
    data, mode = window.padding.apply(data, "tflite")
    spaced = ctx.target == "serving" and set(dilation) != {1}
    by_batches = spaced and set(stride) == {1}
    weight = dilated(ctx, w, dilation) if spaced and not by_batches else w
    filters = filters_of(ctx, weight, (2, 3, 4, 1, 0))
    steps = [1, 1, 1] if spaced else dilation

    def convolved(image: Tensor, mode: str) -> Tensor:
        parts = (
            zip(tf.split(image, group, -1), tf.split(filters, group, -1), strict=True) if group > 1 else [(image, filters)]
        )
        results = [in_single(tf.nn.conv3d)(d, f, [1, *stride, 1], mode, dilations=[1, *steps, 1]) for d, f in parts]
        return results[0] if group == 1 else tf.concat(results, -1)

    return in_batches(data, dilation, mode, filters.shape[:3].as_list(), convolved) if by_batches else convolved(data, mode)
