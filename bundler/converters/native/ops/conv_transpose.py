"""Transposed convolutions in 1, 2 and 3 spatial dimensions, channels last.

https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.dims import (
    Dim,
    Element,
    add,
    from_sizes,
    full_shape,
    larger,
    multiply,
    pad_pairs,
    subtract,
    tensor_of,
)  # fmt: skip
from bundler.converters.native.ops.conv import add_bias, filters_of
from bundler.converters.native.ops.conv_integer import convolve_integers_transposed
from bundler.converters.native.ops.dilation import dilated
from bundler.converters.native.ops.half import in_single
from bundler.converters.native.ops.padding import reach
from bundler.converters.native.ops.pointwise import convolve_pointwise
from bundler.converters.native.orders import channels_last
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor, with_axis, without_axis
from bundler.converters.native.value import Value


@op("ConvTranspose", layout=AxisPolicy.VALUES)
def conv_transpose(
    ctx: Context, x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None, output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower ConvTranspose of x [N, C, spatial…] with w [C, M/group, kernel…] and bias [M].

    The whole transposed convolution is computed (VALID) and cropped by the pads, or padded at the end where
    output_padding exceeds them.
    """
    spatial = len(w.shape) - 2
    stride = list(strides or [1] * spatial)
    dilation = list(dilations or [1] * spatial)
    extra = list(output_padding or [0] * spatial)
    kernel = reach(kernel_shape or ctx.sizes(w)[2:], dilation)
    begin, end = _transposed_pads(auto_pad, pads, output_shape, ctx.sizes(x)[2:], stride, kernel, extra)
    order = channels_last(spatial + 2)
    sizes = [ctx.dim(x, 0), *(ctx.dim(x, axis) for axis in range(2, spatial + 2))]
    if spatial not in (1, 2, 3):
        raise ValueError(f"transposed convolutions are supported over 1, 2 or 3 spatial dims, not {spatial}")
    if 0 in w.shape:  # TensorFlow's kernels end the process, or refuse the filter
        nothing = tf.zeros(
            full_shape(_output_sizes(ctx, x, w, group, stride, kernel, begin, end, extra)), x.tensor.dtype
        )
        return ctx.value(nothing if bias is None else nothing + bias.tensor, order)
    if _is_blocks(ctx, w, stride, kernel, group, [*begin, *end, *extra]):
        return ctx.value(_blocks(ctx, x, w, bias), order)
    data = x.in_order(order)
    if data.shape[-1] is None and w.shape[0] is not None:
        data = tf.ensure_shape(data, [*data.shape[:-1], w.shape[0]])
    full = _transposed_valid(ctx, data, w, stride, dilation, group, sizes)
    result = _crop(full, begin, end, extra)
    if bias is not None:
        result = add_bias(result, bias.tensor)
    return ctx.value(result, order)


def _output_sizes(
    ctx: Context, x: Value, w: Value, group: int, stride: Sequence[int], kernel: Sequence[Element],
    begin: Sequence[Element], end: Sequence[Element], extra: Sequence[int],
) -> list[Element]:  # fmt: skip
    """Return the sizes of the result, channels last."""
    batch, _, *spatial = ctx.sizes(x)
    axes = zip(spatial, stride, kernel, begin, end, extra, strict=True)
    sizes = [subtract(subtract(add(multiply(subtract(n, 1), s), add(k, e)), b), after) for n, s, k, b, after, e in axes]
    return [batch, *sizes, multiply(ctx.dim(w, 1), group)]


def _is_blocks(
    ctx: Context, w: Value, stride: Sequence[int], kernel: Sequence[Element], group: int, pads: Sequence[Element]
) -> bool:
    """Whether the kernel is as large as the stride, so that it covers each square of the output once."""
    square = len(stride) == 2 and list(stride) == list(kernel) and stride[0] == stride[1] > 1
    return square and list(w.shape[2:]) == list(kernel) and group == 1 and not any(pads) and (
        w.is_constant and w.dtype == tf.float32 and w.quant_params is None
    )  # fmt: skip


def _blocks(ctx: Context, x: Value, w: Value, bias: Value | None) -> Tensor:
    """Compute each pixel's square of pixels by a product, which DepthToSpace then lays out.

    This is 5 to 45 % faster than Conv2DBackpropInput (benchmarks/forms.py), and 30 to 60 % faster than TFLite's TRANSPOSE_CONV,
    which XNNPACK does not run if the batch is dynamic. w [C, M, k, k] becomes [k*k*M, C, 1, 1], the order
    in which DepthToSpace reads channels.
    """
    assert w.array is not None
    channels, filters, size, _ = w.array.shape
    wide = ctx.constant(w.array.transpose(2, 3, 1, 0).reshape(size * size * filters, channels, 1, 1))
    wide.name = w.name
    repeated = None
    if bias is not None:
        repeated = ctx.value(tf.tile(bias.tensor, [size * size])) if bias.array is None else ctx.constant(
            np.tile(bias.array, size * size)
        )  # fmt: skip
    return tf.nn.depth_to_space(convolve_pointwise(ctx, x, wide, repeated).stored, size)


def _transposed_pads(
    auto_pad: str, pads: Sequence[int] | None, output_shape: Sequence[int] | None, sizes: Sequence[Element],
    stride: Sequence[int], kernel: Sequence[Element], extra: Sequence[int],
) -> tuple[list[Element], list[Element]]:  # fmt: skip
    """Return the pads before and after each axis; if not given, those that ONNX derives from output_shape or auto_pad.

    The larger half of an odd sum comes first, unless auto_pad is SAME_UPPER. Where the output is larger than the full result,
    the pad at the end is negative: rows of zeros.
    """
    spatial = len(stride)
    if output_shape is None and auto_pad in ("NOTSET", "VALID"):
        flat = list(pads or [0] * (2 * spatial))
        return list(flat[:spatial]), list(flat[spatial:])
    begin: list[Element] = []
    end: list[Element] = []
    for axis in range(spatial):
        if output_shape is None:
            rest = add(kernel[axis], extra[axis] - stride[axis])
            total: Element = from_sizes("positive", lambda r: larger(r, 0), rest)
        else:
            rest = add(kernel[axis], extra[axis] - stride[axis] - output_shape[-spatial:][axis])
            total = add(multiply(sizes[axis], stride[axis]), rest)
        half = 0 if auto_pad == "SAME_UPPER" else 1
        begin.append(from_sizes(f"before_{half}", lambda t, half=half: larger((t + half) // 2, 0), total))
        end.append(subtract(total, begin[-1]))
    return begin, end


def _transposed_valid(
    ctx: Context, data: Tensor, w: Value, stride: list[int], dilation: list[int], group: int, sizes: list[Any]
) -> Tensor:
    spatial = len(stride)
    weight = dilated(ctx, w, dilation)
    if data.dtype.is_integer:
        return convolve_integers_transposed(ctx, data, weight, stride, group)
    output = [
        from_sizes(f"full_{s}", lambda n, k, s=s: (n - 1) * s + k, n, k)
        for n, s, k in zip(sizes[1:], stride, ctx.sizes(weight)[2:], strict=True)
    ]
    if spatial == 1:
        data, stride, output = with_axis(data, 1, ctx.target), [1, *stride], [1, *output]
    shape = _stack([sizes[0], *output, ctx.dim(w, 1)])
    permutation = (2, 3, 4, 1, 0) if spatial == 3 else (2, 3, 1, 0)
    transposed = in_single(tf.nn.conv3d_transpose if spatial == 3 else tf.nn.conv2d_transpose)
    filters = filters_of(ctx, weight, permutation)
    if group == 1:
        result = transposed(data, filters, shape, stride, "VALID")
    else:
        parts = zip(tf.split(data, group, -1), tf.split(filters, group, -1), strict=True)
        result = tf.concat([transposed(d, f, shape, stride, "VALID") for d, f in parts], -1)
    return without_axis(result, 1, ctx.target) if spatial == 1 else result


def _stack(sizes: Sequence[Any]) -> Any:
    if all(isinstance(s, int) for s in sizes):
        return list(sizes)
    return tf.stack([tf.cast(s if tf.is_tensor(s) else tensor_of(s), tf.int32) for s in sizes])


def _crop(full: Tensor, begin: Sequence[Element], end: Sequence[Element], extra: Sequence[int]) -> Tensor:
    crops = [subtract(e, x) for e, x in zip(end, extra, strict=True)]
    missing = [from_sizes("missing", lambda c: larger(-c, 0), crop) for crop in crops]
    if any(missing):
        full = tf.pad(full, pad_pairs([[0, 0], *([0, m] for m in missing), [0, 0]]))
    crops = [from_sizes("cropped", lambda c: larger(c, 0), crop) for crop in crops]
    if not any(begin) and not any(crops):
        return full
    slices = [_inner(b, c) for b, c in zip(begin, crops, strict=True)]
    window = (slice(None), *slices, slice(None))
    return full[window]


def _inner(begin: Element, crop: Element) -> slice:
    """Return the slice without `begin` items at the start and `crop` at the end; the end is negative, but not zero."""
    if isinstance(begin, int) and isinstance(crop, int):
        return slice(begin, -crop if crop else None)
    end = (
        from_sizes("end", lambda c: tf.where(c > 0, -c, tf.int64.max), crop) if isinstance(crop, Dim) else -crop or None
    )
    return slice(tensor_of(begin), end.tensor if isinstance(end, Dim) else None if end is None else tensor_of(end))
