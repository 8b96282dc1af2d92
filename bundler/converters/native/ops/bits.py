"""Shifts and reinterpreted bits.

https://onnx.ai/onnx/operators/onnx__BitShift.html, https://onnx.ai/onnx/operators/onnx__BitCast.html
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor


@op("BitShift", layout=AxisPolicy.ELEMENTWISE)
def bit_shift(x: Tensor, y: Tensor, *, direction: str) -> Tensor:
    """Lower BitShift. A shift by the width or more, or by less than 0, gives 0, or -1 for a negative number shifted right."""
    width = x.dtype.size * 8
    inside = tf.logical_and(y >= tf.zeros([], y.dtype), y < tf.cast(width, y.dtype))
    steps = tf.where(inside, y, tf.zeros([], y.dtype))
    if direction == "LEFT":
        return tf.where(inside, tf.bitwise.left_shift(x, steps), tf.zeros([], x.dtype))
    beyond = tf.zeros([], x.dtype) if x.dtype.is_unsigned else tf.where(x < 0, tf.cast(-1, x.dtype), tf.cast(0, x.dtype))
    return tf.where(inside, tf.bitwise.right_shift(x, steps), beyond)


@op("BitCast", layout=AxisPolicy.ELEMENTWISE)
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    """Lower BitCast: the same bits as another dtype of the same width; a bool is a byte of 0 or 1."""
    dtype = tensor_dtype(to)
    data = tf.cast(x, tf.uint8) if x.dtype == tf.bool else x
    if dtype == tf.bool:
        return tf.not_equal(tf.bitcast(data, tf.uint8), 0)
    return tf.bitcast(data, dtype)
