"""Models that are quantized already: numbers rounded to an 8-bit grid, but kept as floats.

For TFLite they become TensorFlow's FakeQuant operators, whose ranges the converter turns back into scales and zero points. With
min = (lowest - zero point) * scale and max = (highest - zero point) * scale it finds the same ones as in the ONNX file.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native import products
from bundler.converters.native.context import Context
from bundler.converters.native.quant_params import QuantParams
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.values.arrays import Array


@op("FakeQuantize", layout=AxisPolicy.ELEMENTWISE, domain="tfbundle", static=("scale", "zero_point"))
def fake_quantize(ctx: Context, x: Tensor, scale: Array, zero_point: Array) -> Tensor:
    """Lower FakeQuantize (made by fuse_fake_quantize): round x to the grid of the zero point's dtype."""
    limits = np.iinfo(zero_point.dtype)
    step, zero = np.float32(scale.reshape(())), float(zero_point.reshape(()))
    if ctx.target == "tflite":
        low, high = (limits.min - zero) * float(step), (limits.max - zero) * float(step)
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high)
    quantized = tf.clip_by_value(tf.round(x / step) + zero, float(limits.min), float(limits.max))
    return (quantized - zero) * step


def quantized_weight(ctx: Context, weight: Value, tensor: Tensor) -> Tensor:
    """Return a weight's data with the quantization that it has in the model; for TFLite only.

    Args:
        ctx: the conversion.
        weight: the weight in the model; unless it is a dequantized constant, its data stay as they are.
        tensor: its data, moved so that the channels are the last axis.
    """
    params = weight.quant_params
    if params is None or ctx.target != "tflite" or tensor.dtype != tf.float32:
        return tensor
    low = (params.low - params.zero_point) * params.scale.astype(np.float64)
    high = (params.high - params.zero_point) * params.scale.astype(np.float64)
    narrow = bool(params.low == -127)
    if params.scale.size == 1:
        return tf.quantization.fake_quant_with_min_max_vars(tensor, low.item(), high.item(), narrow_range=narrow)
    if tensor.shape[-1] != params.scale.size:
        return tensor
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        tensor, low.astype(np.float32), high.astype(np.float32), narrow_range=narrow
    )


def product(ctx: Context, x: Tensor, weight: Value, matrix: Tensor, bias: Tensor | None, *, flip: bool = False) -> Tensor:
    """Compute x [M, K] @ matrix [K, N] + bias [N], with the matrix quantized like the weight in the model.

    A weight with a scale per column becomes a convolution over one pixel for TFLite: for FULLY_CONNECTED its converter would
    have to transpose the scales, which it cannot.

    Args:
        ctx: the conversion.
        x: the data, [K, M] if `flip`.
        weight: the weight in the model.
        matrix: its data.
        bias: added to every row.
        flip: whether x is transposed first.
    """
    params = weight.quant_params
    by_column = ctx.target == "tflite" and params is not None and params.scale.size > 1
    if not by_column:
        result = products.matmul(x, quantized_weight(ctx, weight, matrix), transpose_a=flip)
        return result if bias is None else tf.nn.bias_add(result, bias)
    rows = tf.transpose(x) if flip else x
    filters = quantized_weight(ctx, weight, tf.reshape(matrix, [1, 1, *matrix.shape]))
    pixels = tf.nn.conv2d(tf.reshape(rows, [-1, 1, 1, matrix.shape[0]]), filters, 1, "VALID")
    return tf.reshape(pixels if bias is None else tf.nn.bias_add(pixels, bias), [-1, matrix.shape[1]])


def quant_params_of(x: Array, scale: Array, zero_point: Array | None) -> QuantParams | None:
    """Return the parameters of a quantized constant, or None if TFLite has no such constants (8 bits, one zero point)."""
    zeros = np.zeros(1, x.dtype) if zero_point is None else zero_point.reshape(-1)
    if x.dtype not in (np.int8, np.uint8) or scale.dtype != np.float32 or (zeros != zeros[:1]).any() or not zeros.size:
        return None
    limits, zero = np.iinfo(x.dtype), int(zeros[0])
    # TFLite's weights do not use the lowest integer, so that the range is symmetric around zero.
    low = -127 if x.dtype == np.int8 and zero == 0 and x.min(initial=0) > -128 else int(limits.min)
    return QuantParams(scale.reshape(-1), zero, low, int(limits.max))
