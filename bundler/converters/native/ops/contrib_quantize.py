"""ONNX Runtime's own operators (domain com.microsoft): quantized tensors.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
Operators that treat a tensor as a whole keep its storage order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.delegate import MS, lower, sized_like, without_none
from bundler.converters.native.ops.quantize import (
    dequantized,
    dynamic_quantize_linear,
    mat_mul_integer,
    quantize_linear,
)
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


@op("QuantizeLinear", layout=AxisPolicy.VALUES, domain=MS)
def quantize(ctx: Context, x: Value, scale: Value, zero_point: Value | None = None, *, axis: int = 1) -> Value:
    """Lower QuantizeLinear like ONNX's operator, which lacked some of its types at first."""
    return sized_like(ctx, lower(ctx, "QuantizeLinear", x, scale, zero_point, axis=axis), x)


@op("DequantizeLinear", layout=AxisPolicy.VALUES, domain=MS)
def dequantize(ctx: Context, x: Value, scale: Value, zero_point: Value | None = None, *, axis: int = 1) -> Value:
    """Lower DequantizeLinear like ONNX's operator, which lacked some of its types at first."""
    return sized_like(ctx, lower(ctx, "DequantizeLinear", x, scale, zero_point, axis=axis), x)


@op("MatMulIntegerToFloat", domain=MS)
def mat_mul_integer_to_float(
    a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Lower MatMulIntegerToFloat: the integer product times both scales (single or by column), plus the bias."""
    product = tf.cast(mat_mul_integer(a, b, a_zero, b_zero), a_scale.dtype) * (a_scale * b_scale)
    return product if bias is None else product + bias


@op("DynamicQuantizeMatMul", domain=MS)
def dynamic_quantize_mat_mul(
    a: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Lower DynamicQuantizeMatMul: MatMulIntegerToFloat of a, quantized to uint8 over its range, and b."""
    quantized, scale, zero = dynamic_quantize_linear(a)
    return mat_mul_integer_to_float(quantized, b, scale, b_scale, zero, b_zero, bias)


@op("QGemm", layout=AxisPolicy.VALUES, domain=MS)
def q_gemm(
    ctx: Context, a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value, b_zero: Value, c: Value | None = None,
    y_scale: Value | None = None, y_zero: Value | None = None, *, alpha: float = 1.0,
    transA: int = 0, transB: int = 0,  # noqa: N803
) -> Value:  # fmt: skip
    """Lower QGemm: alpha * (a' @ b' + c), with c in int32 at the scale of the product; float32 without y_scale."""
    left = tf.transpose(a.tensor) if transA else a.tensor
    right = tf.transpose(b.tensor) if transB else b.tensor
    sums = mat_mul_integer(left, right, a_zero.tensor, b_zero.tensor)
    total = sums if c is None else sums + c.tensor
    real = tf.cast(total, tf.float32) * (alpha * a_scale.tensor * b_scale.tensor)
    return ctx.value(real if y_scale is None else quantize_linear(real, y_scale.tensor, _tensor(y_zero)))


# -- operators between a dequantization and a quantization --------------------------------------------------------------


def _tensor(value: Value | None) -> Tensor | None:
    return None if value is None else value.tensor


def _real(ctx: Context, x: Value, scale: Value, zero: Value | None) -> Value:
    """Dequantize x to float32 with a single scale; its storage order stays."""
    return ctx.value(dequantized(x.stored, tf.reshape(scale.tensor, []), _scalar(zero)), x.order)


def _quantized(ctx: Context, y: Value, scale: Value, zero: Value | None, dtype: tf.DType) -> Value:
    """Quantize y with a single scale; its storage order stays. Without a zero point the result has this dtype."""
    offset = tf.zeros([], dtype) if zero is None else _scalar(zero)
    return ctx.value(quantize_linear(y.stored, tf.reshape(scale.tensor, []), offset), y.order)


def _scalar(value: Value | None) -> Tensor | None:
    return None if value is None else tf.reshape(value.tensor, [])


def _register_binary(name: str) -> None:
    @op(f"QLinear{name}", layout=AxisPolicy.VALUES, domain=MS)
    def binary(
        ctx: Context, a: Value, a_scale: Value, a_zero: Value | None, b: Value, b_scale: Value, b_zero: Value | None,
        c_scale: Value, c_zero: Value | None = None,
    ) -> Value:  # fmt: skip
        result = lower(ctx, name, _real(ctx, a, a_scale, a_zero), _real(ctx, b, b_scale, b_zero))
        c = _quantized(ctx, result, c_scale, c_zero, a.dtype)
        return sized_like(ctx, c, a) if a.rank == b.rank and ctx.sizes(a) == ctx.sizes(b) else c


for _name in ("Add", "Mul"):
    _register_binary(_name)


def _between(
    ctx: Context, op_type: str, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None,
    **attributes: Any,
) -> Value:  # fmt: skip
    """Dequantize x, lower one of ONNX's own operators, and quantize the result."""
    result = lower(ctx, op_type, _real(ctx, x, x_scale, x_zero), **attributes)
    return _quantized(ctx, result, y_scale, y_zero, x.dtype)


@op("QLinearSigmoid", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_sigmoid(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None
) -> Value:
    """Lower QLinearSigmoid: Sigmoid of the real numbers."""
    return sized_like(ctx, _between(ctx, "Sigmoid", x, x_scale, x_zero, y_scale, y_zero), x)


@op("QLinearLeakyRelu", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_leaky_relu(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None, *,
    alpha: float = 0.01,
) -> Value:  # fmt: skip
    """Lower QLinearLeakyRelu: LeakyRelu of the real numbers."""
    return sized_like(ctx, _between(ctx, "LeakyRelu", x, x_scale, x_zero, y_scale, y_zero, alpha=alpha), x)


@op("QLinearSoftmax", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_softmax(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None, *,
    axis: int = -1, opset: int,
) -> Value:  # fmt: skip
    """Lower QLinearSoftmax over `axis`; before opset 13, over `axis` and all axes after it together."""
    if opset >= 13:
        return sized_like(ctx, _between(ctx, "Softmax", x, x_scale, x_zero, y_scale, y_zero, axis=axis), x)
    real = _real(ctx, x, x_scale, x_zero).tensor
    outer = tf.shape(real)[: axis % real.shape.rank]
    flat = tf.nn.softmax(tf.reshape(real, tf.concat([outer, [-1]], 0)))
    return sized_like(ctx, _quantized(ctx, ctx.value(tf.reshape(flat, tf.shape(real))), y_scale, y_zero, x.dtype), x)


def _channels_first(ctx: Context, x: Value, channels_last: int) -> Value:
    """Transpose an image to channels first, as ONNX's own operators read it, if it is channels last."""
    rank = x.rank or 0
    return lower(ctx, "Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)]) if channels_last else x


def _channels_back(ctx: Context, y: Value, channels_last: int) -> Value:
    rank = y.rank or 0
    return lower(ctx, "Transpose", y, perm=[0, *range(2, rank), 1]) if channels_last else y


@op("QLinearGlobalAveragePool", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_global_average_pool(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value, y_scale: Value, y_zero: Value, *, channels_last: int = 0
) -> Value:
    """Lower QLinearGlobalAveragePool: GlobalAveragePool of the real numbers."""
    image = _channels_first(ctx, x, channels_last)
    return _channels_back(
        ctx, _between(ctx, "GlobalAveragePool", image, x_scale, x_zero, y_scale, y_zero), channels_last
    )


@op("QLinearAveragePool", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_average_pool(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None, *,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, channels_last: int = 0, count_include_pad: int = 0,
    kernel_shape: Sequence[int], pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower QLinearAveragePool: AveragePool of the real numbers."""
    geometry = without_none(pads=pads, strides=strides)
    pooled = _between(
        ctx, "AveragePool", _channels_first(ctx, x, channels_last), x_scale, x_zero, y_scale, y_zero, auto_pad=auto_pad,
        ceil_mode=ceil_mode, count_include_pad=count_include_pad, kernel_shape=kernel_shape, **geometry,
    )  # fmt: skip
    return _channels_back(ctx, pooled, channels_last)


@op("QLinearConv", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_conv(
    ctx: Context, x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value, y_scale: Value,
    y_zero: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET", channels_last: int = 0,
    dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower QLinearConv like ONNX's operator; the image may be channels last."""
    geometry = without_none(dilations=dilations, kernel_shape=kernel_shape, pads=pads, strides=strides)
    image = _channels_first(ctx, x, channels_last)
    y = lower(
        ctx, "QLinearConv", image, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias, auto_pad=auto_pad,
        group=group, **geometry,
    )  # fmt: skip
    return _channels_back(ctx, y, channels_last)


@op("QLinearConcat", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_concat(ctx: Context, y_scale: Value, y_zero: Value, *inputs: Value, axis: int) -> Value:
    """Lower QLinearConcat; each tensor of the inputs is followed by its scale and its zero point."""
    triples = zip(inputs[::3], inputs[1::3], inputs[2::3], strict=True)
    parts = [_real(ctx, x, scale, zero) for x, scale, zero in triples]
    return _quantized(ctx, lower(ctx, "Concat", *parts, axis=axis), y_scale, y_zero, y_zero.dtype)


@op("QLinearWhere", layout=AxisPolicy.VALUES, domain=MS)
def q_linear_where(
    ctx: Context, condition: Value, x: Value, x_scale: Value, x_zero: Value, y: Value, y_scale: Value, y_zero: Value,
    z_scale: Value, z_zero: Value,
) -> Value:  # fmt: skip
    """Lower QLinearWhere: x where the condition holds, otherwise y, each with its own scale."""
    chosen = lower(ctx, "Where", condition, _real(ctx, x, x_scale, x_zero), _real(ctx, y, y_scale, y_zero))
    return _quantized(ctx, chosen, z_scale, z_zero, z_zero.dtype)
