"""Convolutions of integers, which PyTorch exports although ONNX defines Conv for floating point only.

TensorFlow's kernels take no int64, and a detour over floats rounds beyond 2^53. So the windows are gathered and multiplied as
matrices of int64, in which a sum wraps around as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.dims import pad_pairs
from bundler.converters.native.ops.dilation import dilated
from bundler.converters.native.ops.padding import Padding
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


def convolve_integers(
    data: Tensor, w: Tensor, padding: Padding, stride: Sequence[int], dilation: Sequence[int], group: int
) -> Tensor:
    """Convolve integers.

    Args:
        data: [N, spatial…, C].
        w: [M, C/group, kernel…].
        padding: numbers for each axis, not SAME.
        stride: one number per spatial axis.
        dilation: one number per spatial axis.
        group: the number of groups of channels.

    Returns:
        [N, spatial…, M] of the dtype of `data`.
    """
    count = len(stride)
    windows = tf.pad(tf.cast(data, tf.int64), pad_pairs(padding.pairs))
    filters = tf.cast(w, tf.int64)
    lengths, kernel = tf.shape(windows)[1:-1], tf.shape(filters)[2:]
    for axis in range(count):
        outs = tf.maximum((lengths[axis] - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1, 0)
        taps = tf.range(outs)[:, None] * stride[axis] + tf.range(kernel[axis])[None] * dilation[axis]
        windows = tf.gather(windows, taps, axis=1 + 2 * axis)
    order = [0, *range(1, 2 * count, 2), 2 * count + 1, *range(2, 2 * count + 1, 2)]
    windows = tf.transpose(windows, order)  # [N, out…, C, kernel…]
    places, taps = tf.shape(windows)[: count + 1], tf.reduce_prod(kernel)
    rows = tf.reshape(windows, tf.stack([tf.reduce_prod(places), group, tf.shape(data)[-1] // group * taps]))
    columns = tf.reshape(filters, tf.stack([group, tf.shape(filters)[0] // group, tf.shape(filters)[1] * taps]))
    sums = tf.matmul(tf.transpose(rows, [1, 0, 2]), columns, transpose_b=True)  # [group, places, M/group]
    result = tf.reshape(tf.transpose(sums, [1, 0, 2]), tf.concat([places, [tf.shape(filters)[0]]], 0))
    result.set_shape([data.shape[0], *[None] * count, w.shape[0]])
    return tf.cast(result, data.dtype)


def convolve_integers_transposed(ctx: Context, data: Tensor, w: Value, stride: Sequence[int], group: int) -> Tensor:
    """Return the whole transposed convolution of integers, as a convolution of spread data with the mirrored kernel.

    Args:
        ctx: the conversion.
        data: [N, spatial…, C].
        w: [C, M/group, kernel…].
        stride: one number per spatial axis.
        group: the number of groups of channels.

    Returns:
        [N, (spatial - 1) * stride + kernel…, M].
    """
    count = len(stride)
    first = ctx.value(tf.transpose(data, [0, count + 1, *range(1, count + 1)]))
    spread = tf.transpose(dilated(ctx, first, stride).tensor, [0, *range(2, count + 2), 1])
    mirrored = tf.reverse(w.tensor, list(range(2, count + 2)))
    sizes = tf.shape(mirrored)
    by_group = tf.reshape(mirrored, tf.concat([[group, sizes[0] // group], sizes[1:]], 0))
    swapped = tf.transpose(by_group, [0, 2, 1, *range(3, count + 3)])  # [group, M/group, C/group, kernel…]
    kernels = tf.reshape(swapped, tf.concat([[group * sizes[1], sizes[0] // group], sizes[2:]], 0))
    border = tf.stack([tf.zeros([], tf.int32), *(sizes[2 + axis] - 1 for axis in range(count)), tf.zeros([], tf.int32)])
    padded = tf.pad(spread, tf.stack([border, border], 1))
    return convolve_integers(padded, kernels, Padding((0,) * count, (0,) * count), [1] * count, [1] * count, group)
