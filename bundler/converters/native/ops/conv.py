"""Convolutions, in 1, 2 and 3 spatial dimensions, channels last. https://onnx.ai/onnx/operators/onnx__Conv.html"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.lowering import Context
from bundler.converters.native.ops.padding import Padding, resolve_padding
from bundler.converters.native.registry import Layout, op
from bundler.converters.native.shapes import tensor_of, tensor_shape
from bundler.converters.native.value import Array, Tensor, Value, channels_last


@op("Conv", layout=Layout.VALUES)
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
    kernel = [_static(k) for k in (kernel_shape or w.shape[2:])]
    stride = list(strides or [1] * spatial)
    dilation = list(dilations or [1] * spatial)
    order = channels_last(spatial + 2)
    data = x.in_order(order)
    channels = _static(w.shape[1]) * group
    data = tf.ensure_shape(data, [*data.shape[:-1], channels]) if data.shape[-1] is None else data
    padding = resolve_padding(auto_pad, pads, data.shape[1:-1].as_list(), kernel, stride, dilation)
    if _is_pointwise(ctx, w, kernel, stride, padding, group):
        result = _pointwise(ctx, x, data, w, bias)
    else:
        result = _convolve(ctx, data, w, stride, dilation, group, padding)
        if bias is not None:
            result = _add_bias(result, bias.tensor)
    return ctx.value(result, order)


def _static(size: int | None) -> int:
    if size is None:
        raise ValueError("the shape of its weight is not known at build time")
    return size


def _add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """BiasAdd, which TensorFlow fuses into the convolution before it, where an Add is not."""
    return tf.nn.bias_add(x, bias) if x.shape.rank in (2, 3, 4, 5) and x.dtype.is_floating else x + bias


def _is_pointwise(
    ctx: Context, w: Value, kernel: Sequence[int], stride: Sequence[int], padding: Padding, group: int
) -> bool:
    """A 1x1 convolution of stride 1 is a matrix product, up to 2.4x faster than Conv2D on CPU.

    TFLite keeps the convolution: XNNPACK runs it as the same product, and quantizes it by channel.
    """
    simple = set(kernel) == {1} and set(stride) == {1} and padding.is_zero and group == 1
    return simple and w.is_constant and ctx.target == "serving" and w.dtype == tf.float32


def _pointwise(ctx: Context, x: Value, data: Tensor, w: Value, bias: Value | None) -> Tensor:
    assert w.array is not None
    out_channels, in_channels = w.array.shape[:2]
    matrix = ctx.weight(np.ascontiguousarray(w.array.reshape(out_channels, in_channels).T), w.name)
    product = tf.matmul(tf.reshape(data, [-1, in_channels]), matrix)
    if bias is not None:
        product = tf.nn.bias_add(product, bias.tensor)
    sizes = [ctx.dim(x, axis) for axis in (0, *range(2, len(w.array.shape)))]
    return tf.reshape(product, tensor_shape([*sizes, int(out_channels)]))


def _convolve(
    ctx: Context, data: Tensor, w: Value, stride: list[int], dilation: list[int], group: int, padding: Padding
) -> Tensor:
    spatial = len(stride)
    channels = data.shape[-1]
    if spatial == 1:
        data = tf.expand_dims(data, 1)
        stride, dilation, padding = [1, *stride], [1, *dilation], padding.lifted()
    if spatial > 3:
        raise ValueError(f"convolutions over {spatial} spatial dims are not supported by TensorFlow (1, 2 and 3 are)")
    if group > 1 and group == channels and spatial < 3 and stride[0] == stride[1] and _depthwise_can(stride, dilation):
        result = _depthwise(ctx, data, w, stride, dilation, group, padding)
    elif spatial == 3:
        result = _conv3d(ctx, data, w, stride, dilation, group, padding)
    else:
        data, mode = padding.apply(data, ctx.target)
        result = tf.nn.conv2d(data, _filters(ctx, w, (2, 3, 1, 0)), stride, mode, dilations=dilation)
    return tf.squeeze(result, 1) if spatial == 1 else result


def _depthwise_can(stride: Sequence[int], dilation: Sequence[int]) -> bool:
    """DepthwiseConv2dNative takes a stride or a dilation, not both."""
    return set(stride) == {1} or set(dilation) == {1}


def _filters(ctx: Context, w: Value, permutation: tuple[int, ...]) -> Tensor:
    """The weight with its axes permuted; one-dimensional kernels get a height of 1 first."""
    if len(w.shape) == 3:
        if w.array is not None:
            return ctx.weight(np.ascontiguousarray(w.array[:, :, None, :].transpose(permutation)), w.name)
        return tf.transpose(tf.expand_dims(w.tensor, 2), permutation)
    if w.array is not None:
        return ctx.weight(np.ascontiguousarray(w.array.transpose(permutation)), w.name)
    return tf.transpose(w.tensor, permutation)


def _depthwise(
    ctx: Context, data: Tensor, w: Value, stride: list[int], dilation: list[int], group: int, padding: Padding
) -> Tensor:
    """w [C*m, 1, kh, kw] -> filter [kh, kw, C, m]: output channel c*m + j in both.

    Pads are put in front of the op: given as its explicit paddings they make TensorFlow's own graph optimiser abort the
    process (2.21, shape inference inside the memory optimiser). Where a row of zeros at the kernel's end turns them into
    SAME, that is done instead: a separate Pad costs more than the zeros do.
    """
    if data.dtype in (tf.float16, tf.bfloat16):  # TensorFlow's kernel would add up in half precision
        wide = ctx.value(tf.cast(w.tensor, tf.float32)) if w.array is None else ctx.constant(w.array.astype(np.float32))
        single = _depthwise(ctx, tf.cast(data, tf.float32), wide, stride, dilation, group, padding)
        return tf.cast(single, data.dtype)
    multiplier = _static(w.shape[0]) // group
    kernel = [1, *w.shape[2:]] if len(w.shape) == 3 else list(w.shape[2:])
    shape = [group, multiplier, *kernel]
    if w.array is not None:
        array = w.array.reshape(shape).transpose(2, 3, 0, 1)
        grown = padding.same_with_zeros(data.shape.as_list()[1:-1], kernel, stride, dilation)
        if grown is not None and ctx.target == "serving":
            array = np.pad(array, [(0, grown[0]), (0, grown[1]), (0, 0), (0, 0)])
            padding = Padding(padding.begin, padding.end, same=True)
        filters = ctx.weight(np.ascontiguousarray(array), w.name)
    else:
        filters = tf.transpose(tf.reshape(w.tensor, shape), [2, 3, 0, 1])
    data, mode = padding.apply(data, "tflite")
    return tf.raw_ops.DepthwiseConv2dNative(
        input=data, filter=filters, strides=[1, *stride, 1], padding=mode, dilations=[1, *dilation, 1]
    )


def _conv3d(
    ctx: Context, data: Tensor, w: Value, stride: list[int], dilation: list[int], group: int, padding: Padding
) -> Tensor:
    """Conv3D has no explicit paddings and no groups on CPU."""
    data, mode = padding.apply(data, "tflite")
    filters = _filters(ctx, w, (2, 3, 4, 1, 0))
    parts = (
        zip(tf.split(data, group, -1), tf.split(filters, group, -1), strict=True) if group > 1 else [(data, filters)]
    )
    results = [tf.nn.conv3d(d, f, [1, *stride, 1], mode, dilations=[1, *dilation, 1]) for d, f in parts]
    return results[0] if group == 1 else tf.concat(results, -1)


@op("ConvTranspose", layout=Layout.VALUES)
def conv_transpose(
    ctx: Context,
    x: Value,
    w: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:
    """x [N, C, spatial…], w [C, M/group, kernel…], bias [M].

    The whole transposed convolution is computed (VALID) and cropped by the pads; padded at the end where output_padding
    exceeds them.
    """
    spatial = len(w.shape) - 2
    stride = list(strides or [1] * spatial)
    dilation = list(dilations or [1] * spatial)
    extra = list(output_padding or [0] * spatial)
    kernel = [(_static(k) - 1) * d + 1 for k, d in zip(kernel_shape or w.shape[2:], dilation, strict=True)]
    begin, end = _transposed_pads(auto_pad, pads, output_shape, x, stride, kernel, extra)
    order = channels_last(spatial + 2)
    sizes = [ctx.dim(x, 0), *(ctx.dim(x, axis) for axis in range(2, spatial + 2))]
    if spatial not in (1, 2, 3):
        raise ValueError(f"transposed convolutions over {spatial} spatial dims are not supported (1, 2 and 3 are)")
    full = _transposed_valid(ctx, x.in_order(order), w, stride, dilation, group, sizes)
    result = _crop(full, begin, end, extra)
    if bias is not None:
        result = _add_bias(result, bias.tensor)
    return ctx.value(result, order)


def _transposed_pads(
    auto_pad: str, pads: Sequence[int] | None, output_shape: Sequence[int] | None, x: Value, stride: Sequence[int],
    kernel: Sequence[int], extra: Sequence[int],
) -> tuple[list[int], list[int]]:  # fmt: skip
    """The pads, or those that give `output_shape` or (auto_pad SAME_*) input * stride, as ONNX derives them."""
    spatial = len(stride)
    if output_shape is None and auto_pad in ("NOTSET", "VALID"):
        flat = list(pads or [0] * (2 * spatial))
        return flat[:spatial], flat[spatial:]
    begin, end = [], []
    for axis in range(spatial):
        size = x.shape[axis + 2]
        if output_shape is None:
            total = max(kernel[axis] + extra[axis] - stride[axis], 0)
        elif size is None:
            raise ValueError("output_shape needs the spatial dims of the input to be known at build time")
        else:
            total = stride[axis] * (size - 1) + extra[axis] + kernel[axis] - output_shape[-spatial:][axis]
        if total < 0:  # more than the input gives: rows of zeros at the end
            begin.append(0)
            end.append(total)
            continue
        small, large = total // 2, total - total // 2
        begin.append(small if auto_pad != "SAME_LOWER" else large)
        end.append(large if auto_pad != "SAME_LOWER" else small)
    return begin, end


def _transposed_valid(
    ctx: Context, data: Tensor, w: Value, stride: list[int], dilation: list[int], group: int, sizes: list[Any]
) -> Tensor:
    spatial = len(stride)
    kernel = _dilated(w.array, dilation) if w.array is not None else None
    weight = ctx.constant(kernel) if kernel is not None else ctx.value(_dilated_tensor(w.tensor, dilation))
    weight.name = w.name
    lengths = [_static(k) for k in weight.shape[2:]]
    output = [_scaled(n, s, k) for n, s, k in zip(sizes[1:], stride, lengths, strict=True)]
    if spatial == 1:
        data, stride, output = tf.expand_dims(data, 1), [1, *stride], [1, *output]
    shape = _stack([sizes[0], *output, _static(w.shape[1])])
    permutation = (2, 3, 4, 1, 0) if spatial == 3 else (2, 3, 1, 0)
    transposed = tf.nn.conv3d_transpose if spatial == 3 else tf.nn.conv2d_transpose
    filters = _filters(ctx, weight, permutation)
    if group == 1:
        result = transposed(data, filters, shape, stride, "VALID")
    else:
        parts = zip(tf.split(data, group, -1), tf.split(filters, group, -1), strict=True)
        result = tf.concat([transposed(d, f, shape, stride, "VALID") for d, f in parts], -1)
    return tf.squeeze(result, 1) if spatial == 1 else result


def _dilated(array: Array, dilation: Sequence[int]) -> Array:
    """The kernel with zeros between its taps."""
    for axis, step in enumerate(dilation, start=2):
        if step == 1:
            continue
        shape = list(array.shape)
        shape[axis] = (shape[axis] - 1) * step + 1
        spread = np.zeros(shape, array.dtype)
        spread[(slice(None),) * axis + (slice(None, None, step),)] = array
        array = spread
    return array


def _dilated_tensor(x: Tensor, dilation: Sequence[int]) -> Tensor:
    """The same for a kernel that is computed."""
    for axis, step in enumerate(dilation, start=2):
        if step > 1:
            length = (x.shape[axis] - 1) * step + 1
            pads = [[0, 0]] * (axis + 1) + [[0, step - 1]] + [[0, 0]] * (x.shape.rank - axis - 1)
            spread = tf.pad(tf.expand_dims(x, axis + 1), pads)
            sizes = [*x.shape[:axis], x.shape[axis] * step, *x.shape[axis + 1 :]]
            x = tf.reshape(spread, sizes)[(slice(None),) * axis + (slice(0, length),)]
    return x


def _scaled(size: Any, stride: int, kernel: int) -> Any:
    """(size - 1) * stride + kernel."""
    if isinstance(size, int):
        return (size - 1) * stride + kernel
    return (size.tensor - 1) * stride + kernel


def _stack(sizes: Sequence[Any]) -> Any:
    if all(isinstance(s, int) for s in sizes):
        return list(sizes)
    return tf.stack([tf.cast(s if tf.is_tensor(s) else tensor_of(s), tf.int32) for s in sizes])


def _crop(full: Tensor, begin: Sequence[int], end: Sequence[int], extra: Sequence[int]) -> Tensor:
    cut = [e - x for e, x in zip(end, extra, strict=True)]
    if any(c < 0 for c in cut):
        full = tf.pad(full, [[0, 0], *([0, max(-c, 0)] for c in cut), [0, 0]])
    cut = [max(c, 0) for c in cut]
    if not any(begin) and not any(cut):
        return full
    slices = [slice(b, -c if c else None) for b, c in zip(begin, cut, strict=True)]
    window = (slice(None), *slices, slice(None))
    return full[window]
