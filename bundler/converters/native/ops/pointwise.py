"""1x1 convolutions of stride 1, which are matrix products. The form is chosen by shape (figures: benchmarks/forms.py).

    few pixels per image     MatMul of [N*pixels, C]        Conv2D has a fixed cost of about 0.1 ms with oneDNN
    many pixels              Conv2D                         1.1 to 1.8 times faster than the product
    a Gelu follows           MatMul                         TensorFlow computes both in one kernel
    channels first wanted    MatMul of w and x transposed   the transposition costs nothing within the product

For TFLite it remains a convolution: XNNPACK runs it as the same product, and quantizes it by channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.dims import Element, full_shape, tensor_shape
from bundler.converters.native.dims import product as size_product
from bundler.converters.native.nodes import is_read_once
from bundler.converters.native.ops.padding import Padding
from bundler.converters.native.orders import channels_last
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

FEW_PIXELS = 1024
"""Image size up to which the product is the faster form. 28x28 (784) is below, 56x56 (3,136) above."""


def is_pointwise(
    ctx: Context, w: Value, kernel: Sequence[Element], stride: Sequence[int], padding: Padding, group: int
) -> bool:
    """Whether `convolve_pointwise` applies: 1x1, stride 1, no pads, one group, a constant float32 weight, for serving."""
    simple = set(kernel) == {1} and set(stride) == {1} and padding.is_zero and group == 1
    return simple and w.is_constant and ctx.target == "serving" and w.dtype == tf.float32


def convolve_pointwise(ctx: Context, x: Value, w: Value, bias: Value | None) -> Value:
    """Convolve x [N, C, spatial…] with w [M, C, 1…] and bias [M]; returns [N, M, spatial…], stored channels last."""
    assert w.array is not None
    matrix = w.array.reshape(len(w.array), -1)
    sizes = ctx.sizes(x)
    order = channels_last(len(sizes))
    data = x.in_order(order)
    if len(sizes) == 4 and not _has_few_pixels(sizes[2:]) and not _feeds_gelu(ctx):
        filters = ctx.weight(np.ascontiguousarray(matrix.T[None, None]), w.name)
        image = tf.nn.conv2d(data, filters, 1, "VALID")
        biased = image if bias is None else tf.nn.bias_add(image, bias.tensor)
        return ctx.convolved(biased, [sizes[0], *sizes[2:], matrix.shape[0]], order, takes_sum=bias is not None)
    is_flattened = x.flattened_sizes is not None and x.order == order
    rows = x.rows if is_flattened else tf.reshape(data, [-1, matrix.shape[1]])
    product = tf.matmul(rows, ctx.weight(np.ascontiguousarray(matrix.T), w.name))
    if bias is not None:
        product = tf.nn.bias_add(product, bias.tensor)
    return Value.from_flattened(product, [sizes[0], *sizes[2:], matrix.shape[0]], ctx.store, order)


def offer_channels_first(ctx: Context, result: Value, x: Value, w: Value, bias: Value | None) -> None:
    """Let `result`, a pointwise convolution stored channels last, be computed channels first if its only reader needs that.

    With several readers both forms might be computed, which costs more than moving one of them.
    """
    if ctx.node is None or not is_read_once(ctx.node.outputs[0]):
        return
    sizes = ctx.sizes(x)
    result.offer(None, lambda: _channels_first(ctx, x, w, bias, sizes))


def _channels_first(ctx: Context, x: Value, w: Value, bias: Value | None, sizes: Sequence[Element]) -> Tensor:
    assert w.array is not None
    matrix = w.array.reshape(len(w.array), -1)
    data = tf.reshape(x.in_order(channels_last(len(sizes))), full_shape([sizes[0], size_product(sizes[2:]), matrix.shape[1]]))
    product = tf.matmul(ctx.weight(np.ascontiguousarray(matrix), w.name), data, transpose_b=True)
    if bias is not None:
        product += tf.expand_dims(bias.tensor, -1)
    return tf.reshape(product, tensor_shape([sizes[0], matrix.shape[0], *sizes[2:]]))


def _feeds_gelu(ctx: Context) -> bool:
    """Whether a Gelu follows: TensorFlow fuses it into a product, which makes up for the slower form, but not into Conv2D."""
    output = ctx.node.outputs[0] if ctx.node is not None and ctx.node.op_type == "Conv" else None
    return output is not None and is_read_once(output) and any(use.node.op_type == "Gelu" for use in output.uses())


def _has_few_pixels(sizes: Sequence[Element]) -> bool:
    return all(isinstance(size, int) for size in sizes) and prod(n for n in sizes if isinstance(n, int)) <= FEW_PIXELS
