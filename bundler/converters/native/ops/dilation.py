"""Kernels with zeros between their taps, for convolutions whose TensorFlow operator takes no dilation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.values.arrays import Array


def dilated(ctx: Context, w: Value, dilation: Sequence[int]) -> Value:
    """Put dilation - 1 zeros between the taps of w [M, C, kernel…]; at build time if it is a constant."""
    weight = ctx.value(_computed(w.tensor, dilation)) if w.array is None else ctx.constant(_constant(w.array, dilation))
    weight.name = w.name
    return weight


def _constant(array: Array, dilation: Sequence[int]) -> Array:
    for axis, step in enumerate(dilation, start=2):
        if step == 1:
            continue
        shape = list(array.shape)
        shape[axis] = (shape[axis] - 1) * step + 1
        spread = np.zeros(shape, array.dtype)
        spread[(slice(None),) * axis + (slice(None, None, step),)] = array
        array = spread
    return array


def _computed(x: Tensor, dilation: Sequence[int]) -> Tensor:
    for axis, step in enumerate(dilation, start=2):
        if step > 1:
            runtime = tf.shape(x)
            known = [runtime[a] if size is None else size for a, size in enumerate(x.shape.as_list())]
            length = (known[axis] - 1) * step + 1
            pads = [[0, 0]] * (axis + 1) + [[0, step - 1]] + [[0, 0]] * (x.shape.rank - axis - 1)
            spread = tf.pad(tf.expand_dims(x, axis + 1), pads)
            sizes = [*known[:axis], known[axis] * step, *known[axis + 1 :]]
            x = tf.reshape(spread, sizes)[(slice(None),) * axis + (slice(0, length),)]
    return x
