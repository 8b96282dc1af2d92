"""Quantized tensors and products.

https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html, https://onnx.ai/onnx/operators/onnx__MatMulInteger.html

Integer products are computed in float64, which has kernels on every platform. The results are exact as long as the sums fit
its 53 bits, as they always do for 8-bit operands with fewer than 2^37 terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from bundler.converters.native import products
from bundler.converters.native.context import Context
from bundler.converters.native.ops.conv import conv
from bundler.converters.native.ops.dtypes import convert, limits, tensor_dtype
from bundler.converters.native.ops.fake_quantize import quant_params_of
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


@op("QuantizeLinear", since=10)
def quantize_linear(
    x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: int = 0, precision: int = 0, saturate: int = 1,
) -> Tensor:  # fmt: skip
    """Lower QuantizeLinear: saturate(round(x / scale) + zero_point), with a scale per tensor, axis index or block."""
    dtype = zero_point.dtype if zero_point is not None else tensor_dtype(output_dtype) if output_dtype else tf.uint8
    wide = tensor_dtype(precision) if precision else scale.dtype
    scaled = tf.cast(x, wide) / tf.cast(_spread(scale, x, axis, block_size), wide)
    if limits(dtype) is None:  # a floating-point format of 8 or 4 bits: no rounding to integers, and the zero point is 0
        return convert(tf.cast(scaled, tf.float32), dtype, saturate=bool(saturate))
    rounded = tf.round(tf.cast(scaled, tf.float64))
    if zero_point is not None:
        rounded += convert(_spread(zero_point, x, axis, block_size), tf.float64)
    return _saturated(rounded, dtype)


@op("DequantizeLinear", layout=AxisPolicy.VALUES, since=10)
def dequantize_linear(
    ctx: Context, x: Value, scale: Value, zero_point: Value | None = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: int = 0,
) -> Value:  # fmt: skip
    """Lower DequantizeLinear; a constant remembers how it was quantized, for TFLite."""
    zero = None if zero_point is None else zero_point.tensor
    result = ctx.value(dequantized(x.tensor, scale.tensor, zero, axis=axis, block_size=block_size, output_dtype=output_dtype))
    known = scale.array is not None and (zero_point is None or zero_point.array is not None)
    if x.array is not None and scale.array is not None and known and not block_size and not output_dtype:
        result.quant_params = quant_params_of(x.array, scale.array, None if zero_point is None else zero_point.array)
    return result


def dequantized(
    x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:  # fmt: skip
    """Compute (x - zero_point) * scale, with a scale per tensor, axis index or block."""
    dtype = tensor_dtype(output_dtype) if output_dtype else scale.dtype
    wide = tf.float64 if x.dtype in (tf.int32, tf.uint32) else tf.float32
    centred = convert(x, wide)
    if zero_point is not None:
        centred -= convert(_spread(zero_point, x, axis, block_size), wide)
    return tf.cast(tf.cast(centred, tf.float32) * tf.cast(_spread(scale, x, axis, block_size), tf.float32), dtype)


def _spread(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """Reshape a scale or zero point so that it broadcasts over x: a single one, one per index of `axis`, or one per block."""
    if parameter.shape.rank == 0 or (parameter.shape.num_elements() == 1 and parameter.shape.rank == 1):
        return parameter if parameter.shape.rank == 0 else tf.reshape(parameter, [])
    axis = axis % x.shape.rank
    if block_size:
        whole = tf.repeat(_byte_sized(parameter), block_size, axis)
        sizes = tf.shape(x)
        window = tf.concat([tf.shape(whole)[:axis], [sizes[axis]], tf.shape(whole)[axis + 1 :]], 0)
        return convert(tf.slice(whole, tf.zeros_like(window), window), parameter.dtype)
    return tf.reshape(parameter, [-1 if a == axis else 1 for a in range(x.shape.rank)])


def _byte_sized(x: Tensor) -> Tensor:
    """Convert a format that TensorFlow cannot repeat and slice to float32."""
    return convert(x, tf.float32) if x.dtype.size < 2 or x.dtype not in (tf.float16, tf.float32, tf.float64) else x


def _saturated(x: Tensor, dtype: tf.DType) -> Tensor:
    low, high = limits(dtype) or (0, 0)
    return convert(tf.clip_by_value(x, tf.cast(low, x.dtype), tf.cast(high, x.dtype)), dtype)


@op("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower DynamicQuantizeLinear: y in uint8 over the range of x, extended to include zero; its scale; its zero point."""
    low, high = tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)
    scale = (high - low) / 255.0
    safe = tf.where(tf.equal(scale, 0.0), tf.ones_like(scale), scale)
    zero_point = tf.clip_by_value(tf.round(-low / safe), 0.0, 255.0)
    y = tf.clip_by_value(tf.round(x / safe) + zero_point, 0.0, 255.0)
    return tf.cast(y, tf.uint8), scale, tf.cast(zero_point, tf.uint8)


def _centred(x: Tensor, zero_point: Tensor | None, axis: int | None = None) -> Tensor:
    """Compute x - zero_point in float64; a vector of zero points goes along `axis`."""
    data = convert(x, tf.float64)
    if zero_point is None:
        return data
    zero = convert(zero_point, tf.float64)
    if zero.shape.rank == 1 and axis is not None and x.shape.rank > 1 and zero.shape[0] != 1:
        zero = tf.reshape(zero, [-1 if a == axis % x.shape.rank else 1 for a in range(x.shape.rank)])
    return data - zero


@op("MatMulInteger", since=10)
def mat_mul_integer(
    a: Tensor, b: Tensor, a_zero_point: Tensor | None = None, b_zero_point: Tensor | None = None
) -> Tensor:
    """Lower MatMulInteger: int32, with zero points by row of a and by column of b."""
    product = products.matmul(_centred(a, a_zero_point, -2), _centred(b, b_zero_point, -1))
    return tf.cast(product, tf.int32)


@op("QLinearMatMul", since=10)
def q_linear_mat_mul(
    a: Tensor, a_scale: Tensor, a_zero_point: Tensor, b: Tensor, b_scale: Tensor, b_zero_point: Tensor, y_scale: Tensor,
    y_zero_point: Tensor,
) -> Tensor:  # fmt: skip
    """Lower QLinearMatMul: the integer product, rescaled and quantized."""
    product = products.matmul(_centred(a, a_zero_point, -2), _centred(b, b_zero_point, -1))
    factor = tf.cast(a_scale, tf.float64) * tf.cast(b_scale, tf.float64) / tf.cast(y_scale, tf.float64)
    return _saturated(tf.round(product * factor) + convert(y_zero_point, tf.float64), y_zero_point.dtype)


@op("ConvInteger", layout=AxisPolicy.VALUES, since=10)
def conv_integer(
    ctx: Context, x: Value, w: Value, x_zero_point: Value | None = None, w_zero_point: Value | None = None,
    *,
    auto_pad: str = "NOTSET", dilations: Sequence[int] | None = None, group: int = 1,
    kernel_shape: Sequence[int] | None = None, pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower ConvInteger: int32 [N, M, spatial…]."""
    geometry = _Geometry(auto_pad, dilations, group, kernel_shape, pads, strides)
    return _integer_conv(ctx, x, w, x_zero_point, w_zero_point, geometry)


class _Geometry(NamedTuple):
    """The attributes of a convolution."""

    auto_pad: str
    dilations: Sequence[int] | None
    group: int
    kernel_shape: Sequence[int] | None
    pads: Sequence[int] | None
    strides: Sequence[int] | None


def _integer_conv(
    ctx: Context, x: Value, w: Value, x_zero: Value | None, w_zero: Value | None, geometry: _Geometry
) -> Value:
    data = ctx.value(_centred(x.tensor, None if x_zero is None else x_zero.tensor))
    weight = ctx.value(_centred(w.tensor, None if w_zero is None else w_zero.tensor, 0))
    result = conv(ctx, data, weight, **geometry._asdict())
    return ctx.value(tf.cast(tf.round(result.stored), tf.int32), result.order)


@op("QLinearConv", layout=AxisPolicy.VALUES, since=10)
def q_linear_conv(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value, y_scale: Value,
    y_zero: Value, bias: Value | None = None, *,
    auto_pad: str = "NOTSET", dilations: Sequence[int] | None = None, group: int = 1,
    kernel_shape: Sequence[int] | None = None, pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower QLinearConv; the bias is int32 with the scale x_scale * w_scale."""
    geometry = _Geometry(auto_pad, dilations, group, kernel_shape, pads, strides)
    sums = _integer_conv(ctx, x, w, x_zero, w_zero, geometry)
    total = tf.cast(sums.stored, tf.float64)
    if bias is not None:
        total += tf.cast(bias.tensor, tf.float64)
    factor = tf.cast(x_scale.tensor, tf.float64) * tf.cast(w_scale.tensor, tf.float64)
    rounded = tf.round(total * (factor / tf.cast(y_scale.tensor, tf.float64)))
    return ctx.value(_saturated(rounded + convert(y_zero.tensor, tf.float64), y_zero.dtype), sums.order)
