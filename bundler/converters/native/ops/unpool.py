"""MaxPool's indices, MaxUnpool, and Col2Im, which sums blocks back into an image.

https://onnx.ai/onnx/operators/onnx__MaxUnpool.html, https://onnx.ai/onnx/operators/onnx__Col2Im.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.dims import Element, add, from_sizes, larger, pad_pairs, product, subtract, tensor_of
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


class Taps(Protocol):
    """The geometry of a window: one number per spatial axis."""

    @property
    def kernel(self) -> list[int]:
        """The sizes of the window."""

    @property
    def stride(self) -> list[int]:
        """The steps of the window."""

    @property
    def dilation(self) -> list[int]:
        """The steps within the window."""


def max_with_indices(
    x: Tensor, sizes: Sequence[Element], window: Taps, begin: Sequence[Element], end: Sequence[Element], column_major: bool
) -> tuple[Tensor, Tensor]:
    """Return the maxima of the windows of x [N, C, s…] and their indices in the flattened x, both [N, C, o…].

    Args:
        x: the data.
        sizes: its spatial sizes.
        window: the window.
        begin: pads before each axis.
        end: pads after each axis.
        column_major: whether the spatial axes are flattened with the first one running fastest.
    """
    kernel, stride, dilation, count = window.kernel, window.stride, window.dilation, len(sizes)
    pairs = pad_pairs([[0, 0], [0, 0], *([b, e] for b, e in zip(begin, end, strict=True))])
    windows, outs = tf.pad(x, pairs, constant_values=x.dtype.min), []
    for i in range(count):
        span = subtract(add(add(sizes[i], begin[i]), end[i]), (kernel[i] - 1) * dilation[i] + 1)
        out = tensor_of(from_sizes(f"windows_{stride[i]}", lambda n, step=stride[i]: larger(n // step + 1, 0), span))
        taps = tf.range(out)[:, None] * stride[i] + tf.range(kernel[i], dtype=tf.int64)[None] * dilation[i]
        windows = tf.gather(windows, taps, axis=2 + 2 * i)
        outs.append(out)
    order = [0, 1, *range(2, 2 + 2 * count, 2), *range(3, 2 + 2 * count, 2)]
    images = tf.shape(x, tf.int64)[:2]
    flat = tf.reshape(tf.transpose(windows, order), tf.concat([images, tf.stack([*outs, int(np.prod(kernel))])], 0))
    place = tf.zeros(tf.shape(flat)[:-1], tf.int64)
    remaining = tf.argmax(flat, -1, output_type=tf.int64)
    steps = _steps(sizes, column_major)
    for i in reversed(range(count)):
        tap, remaining = remaining % kernel[i], remaining // kernel[i]
        start = tf.range(outs[i]) * stride[i] - tensor_of(begin[i])
        start = tf.reshape(start, [-1 if a == i else 1 for a in range(count)])
        place += (start + tap * dilation[i]) * tensor_of(steps[i])
    first = tf.reshape(tf.range(tf.reduce_prod(images)), tf.concat([images, [1] * count], 0)) * tensor_of(product(sizes))
    return tf.reduce_max(flat, -1), first + place


def _steps(sizes: Sequence[Element], column_major: bool) -> list[Element]:
    """Return the distance in the flattened image of two neighbours along each axis."""
    count = len(sizes)
    return [product(sizes[:axis] if column_major else sizes[axis + 1 : count]) for axis in range(count)]


@op("MaxUnpool", layout=AxisPolicy.VALUES)
def max_unpool(
    ctx: Context, x: Value, indices: Value, output_shape: Value | None = None, *, kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower MaxUnpool: x at its indices, otherwise zero.

    The indices count in the shape of the tensor that was pooled; a larger `output_shape` adds rows at the end.
    """
    count = len(kernel_shape)
    stride, pad = strides or [1] * count, pads or [0] * (2 * count)
    data = x.tensor
    shape = tf.shape(data, out_type=tf.int64)
    spatial = [
        (shape[2 + i] - 1) * stride[i] - pad[i] - pad[count + i] + kernel_shape[i] for i in range(count)
    ]
    inferred = tf.stack([shape[0], shape[1], *spatial])
    flat = tf.scatter_nd(tf.reshape(indices.tensor, [-1, 1]), tf.reshape(data, [-1]), [tf.reduce_prod(inferred)])
    result = tf.reshape(flat, inferred)
    if output_shape is not None:
        missing = tf.cast(output_shape.tensor, tf.int64) - inferred
        result = tf.pad(result, tf.stack([tf.zeros_like(missing), missing], 1))
    return ctx.value(result)


@op("Col2Im")
def col2im(
    x: Tensor, image_shape: Tensor, block_shape: Tensor, *, dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Lower Col2Im: place the blocks of x [N, C*block, L] in the image [N, C, image…] and add them up."""
    count = image_shape.shape[0]
    dilation, stride, pad = dilations or [1] * count, strides or [1] * count, pads or [0] * (2 * count)
    image, block = tf.cast(image_shape, tf.int32), tf.cast(block_shape, tf.int32)
    padded = [image[i] + pad[i] + pad[count + i] for i in range(count)]
    index = tf.zeros([1, 1], tf.int32)
    for i in range(count):
        positions = (padded[i] - (block[i] - 1) * dilation[i] - 1) // stride[i] + 1
        along = tf.range(block[i])[:, None] * dilation[i] + tf.range(positions)[None] * stride[i]
        index = index[:, None, :, None] * padded[i] + along[None, :, None, :]
        index = tf.reshape(index, [-1, tf.shape(index)[2] * positions])
    taps, length = tf.shape(index)[0], tf.shape(index)[1]
    batch, channels = tf.shape(x)[0], tf.shape(x)[1] // taps
    columns = tf.transpose(tf.reshape(x, [batch * channels, taps * length]))
    total = tf.math.unsorted_segment_sum(columns, tf.reshape(index, [-1]), tf.reduce_prod(tf.stack(padded)))
    whole = tf.reshape(tf.transpose(total), tf.stack([batch, channels, *padded]))
    begin = [0, 0, *pad[:count]]
    return tf.slice(whole, begin, tf.concat([[batch, channels], image], 0))
