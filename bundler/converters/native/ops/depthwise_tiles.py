"""Depthwise convolutions with large kernels, for TFLite: the sum of convolutions with parts of the kernel.

XNNPACK's kernels for depthwise convolutions take up to 25 weights per channel; for more, it falls back on slow ones. Milliseconds
with LiteRT 2.3 in one thread:

| image | kernel | whole | in parts |
|---|---|---|---|
| 56x56x40 | 7x7 | 2.6 | 0.63 (3 parts) |
| 14x14x160 | 7x7 | 0.61 | 0.13 (3) |
| 28x28x80 | 9x9 | 2.0 | 0.39 (4) |
| 28x28x80 | 13x13 | 4.1 | 0.81 (9) |
| 14x14x160 | 31x31 | 11 | 2.2 (49) |
| 1x200x144 | 1x31 | 0.36 | 0.06 (2) |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.padding import Padding
from bundler.converters.native.tensors import Tensor
from bundler.values.arrays import Array

MOST_WEIGHTS = 25
"""The most weights per channel of one part."""


def tile_of(height: int, width: int) -> tuple[int, int]:
    """Return the sizes of the parts into which a kernel is cut: as few as possible, and of those the widest."""
    sizes = [(min(MOST_WEIGHTS // columns, height), columns) for columns in range(1, min(width, MOST_WEIGHTS) + 1)]
    return min(sizes, key=lambda size: (math.ceil(height / size[0]) * math.ceil(width / size[1]), -size[1]))


def convolve_in_tiles(
    ctx: Context, data: Tensor, filters: Array, bias: Tensor | None, padding: Padding, stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:  # fmt: skip
    """Convolve [N, H, W, C] by channel with filters [kh, kw, C, m], as the sum over parts of the kernel.

    A part sees the padded image without what only the other parts see, so that all results have the same size.

    Args:
        ctx: the conversion.
        data: the images.
        filters: the whole kernel.
        bias: added by channel.
        padding: explicit pads.
        stride: one number per spatial axis.
        dilation: one number per spatial axis.
    """
    image, mode = padding.apply(data, "tflite")
    assert mode == "VALID", "the pads are explicit"
    total = None
    for rows, columns in _tiles(*filters.shape[:2]):
        spans = zip((rows, columns), filters.shape[:2], image.shape[1:3], dilation, strict=True)
        window = (slice(None), *(_seen(*span) for span in spans), slice(None))
        part = tf.raw_ops.DepthwiseConv2dNative(
            input=image[window], filter=ctx.weight(np.ascontiguousarray(filters[rows, columns])),
            strides=[1, *stride, 1], padding="VALID", dilations=[1, *dilation, 1],
        )  # fmt: skip
        if total is None:
            total = part if bias is None else tf.nn.bias_add(part, bias)
        else:
            total = total + part
    return total


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = tile_of(height, width)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield slice(top, min(top + rows, height)), slice(left, min(left + columns, width))


def _seen(part: slice, kernel: int, size: int | None, dilation: int) -> slice:
    """Return what a part of a kernel sees of an axis; `size` is None if it is known only at run time."""
    behind = (kernel - part.stop) * dilation
    end = None if not behind else -behind if size is None else size - behind
    return slice(part.start * dilation or None, end)
