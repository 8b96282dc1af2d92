"""Models that are quantized already: numbers rounded to the steps of an 8-bit format, but kept as floats.

For TFLite they are TensorFlow's FakeQuant operators, whose ranges the converter turns back into scales and zero points: with
min = (lowest - zero point) * scale and max = (highest - zero point) * scale they come out as ONNX has them.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.value import QuantParams, Tensor, Value
from bundler.values.arrays import Array


@op("FakeQuantize", layout=AxisPolicy.ELEMENTWISE, domain="tfbundle", static=("scale", "zero_point"))
def fake_quantize(ctx: Context, x: Tensor, scale: Array, zero_point: Array) -> Tensor:
    """x rounded to the steps of the zero point's dtype; made by fuse_fake_quantize."""
    limits = np.iinfo(zero_point.dtype)
    step, zero = np.float32(scale.reshape(())), float(zero_point.reshape(()))
    if ctx.target == "tflite":
        low, high = (limits.min - zero) * float(step), (limits.max - zero) * float(step)
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high)
    steps = tf.clip_by_value(tf.round(x / step) + zero, float(limits.min), float(limits.max))
    return (steps - zero) * step


def on_its_steps(ctx: Context, weight: Value, tensor: Tensor) -> Tensor:
    """A weight, moved so that its channels are the last axis, with the steps that it has in the model; TFLite only.

    Args:
        weight: the weight as the model has it; any other than a dequantized constant stays as it is.
        tensor: its data.
    """
    steps = weight.steps
    if steps is None or ctx.target != "tflite" or tensor.dtype != tf.float32:
        return tensor
    low = (steps.low - steps.zero_point) * steps.scale.astype(np.float64)
    high = (steps.high - steps.zero_point) * steps.scale.astype(np.float64)
    narrow = bool(steps.low == -127)
    if steps.scale.size == 1:
        return tf.quantization.fake_quant_with_min_max_vars(tensor, low.item(), high.item(), narrow_range=narrow)
    if tensor.shape[-1] != steps.scale.size:
        return tensor
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        tensor, low.astype(np.float32), high.astype(np.float32), narrow_range=narrow
    )


def product(ctx: Context, x: Tensor, weight: Value, matrix: Tensor, bias: Tensor | None, *, flip: bool = False) -> Tensor:
    """x [M, K] (flip: [K, M]) @ matrix [K, N] + bias [N], the matrix on the weight's own steps.

    Steps that differ from column to column are a convolution over one pixel: for FULLY_CONNECTED TFLite's converter would have
    to transpose them, which it cannot.
    """
    by_column = ctx.target == "tflite" and weight.steps is not None and weight.steps.scale.size > 1
    if not by_column:
        result = tf.matmul(x, on_its_steps(ctx, weight, matrix), transpose_a=flip)
        return result if bias is None else tf.nn.bias_add(result, bias)
    rows = tf.transpose(x) if flip else x
    filters = on_its_steps(ctx, weight, tf.reshape(matrix, [1, 1, *matrix.shape]))
    pixels = tf.nn.conv2d(tf.reshape(rows, [-1, 1, 1, matrix.shape[0]]), filters, 1, "VALID")
    return tf.reshape(pixels if bias is None else tf.nn.bias_add(pixels, bias), [-1, matrix.shape[1]])


def steps_of(x: Array, scale: Array, zero_point: Array | None) -> QuantParams | None:
    """The steps of a quantized constant, or None where TFLite has no such constants: 8 bits, one zero point."""
    zeros = np.zeros(1, x.dtype) if zero_point is None else zero_point.reshape(-1)
    if x.dtype not in (np.int8, np.uint8) or scale.dtype != np.float32 or (zeros != zeros[:1]).any() or not zeros.size:
        return None
    limits, zero = np.iinfo(x.dtype), int(zeros[0])
    # TFLite's own weights leave the lowest step out, so that the others lie symmetrically around zero.
    low = -127 if x.dtype == np.int8 and zero == 0 and x.min(initial=0) > -128 else int(limits.min)
    return QuantParams(scale.reshape(-1), zero, low, int(limits.max))
