"""ONNX Runtime's own operators (domain com.microsoft): matrix products and convolutions fused with what follows them.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.delegate import MS, lower, sized_like, without_none
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.value import Value
from bundler.values.arrays import Array

_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Elu": ("alpha",), "Gelu": (), "HardSigmoid": ("alpha", "beta"), "HardSwish": (), "LeakyRelu": ("alpha",), "Relu": (),
    "Selu": ("alpha", "gamma"), "Sigmoid": (), "Softplus": (), "Softsign": (), "Tanh": (), "ThresholdedRelu": ("alpha",),
}  # fmt: skip
"""Activations that ONNX Runtime fuses, and their attributes."""


def _activated(ctx: Context, x: Value, activation: str | None, parameters: Sequence[float | None]) -> Value:
    """Apply an activation; its parameters are in the order of _ACTIVATIONS, None for ONNX's default."""
    if not activation:
        return x
    if activation == "Clip":
        bounds = [None if p is None else ctx.constant(np.asarray(p, x.dtype.as_numpy_dtype)) for p in parameters]
        return lower(ctx, "Clip", x, *bounds[:2])
    if activation not in _ACTIVATIONS:
        raise ctx.reject(
            f"The fused activation {activation!r} is not known.", fix="save the model without ONNX Runtime's fusions"
        )
    return lower(ctx, activation, x, **without_none(**dict(zip(_ACTIVATIONS[activation], parameters, strict=False))))


def _moved(ctx: Context, x: Value, batch: int, last_two: int) -> Value:
    """Transpose x as FusedMatMul reads it: its first axis after the other batch axes, and its last two axes swapped."""
    rank = x.rank or 0
    axes = list(range(rank))
    if batch:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if last_two and rank > 1:
        axes = [*axes[:-2], axes[-1], axes[-2]]
    return x if axes == list(range(rank)) else lower(ctx, "Transpose", x, perm=axes)


@op("FusedMatMul", layout=AxisPolicy.VALUES, domain=MS)
def fused_mat_mul(
    ctx: Context, a: Value, b: Value, *, alpha: float = 1.0,
    transA: int = 0, transB: int = 0, transBatchA: int = 0, transBatchB: int = 0,  # noqa: N803
) -> Value:  # fmt: skip
    """Lower FusedMatMul: alpha * a' @ b'."""
    left, right = _moved(ctx, a, transBatchA, transA), _moved(ctx, b, transBatchB, transB)
    product = lower(ctx, "MatMul", left, right)
    return product if alpha == 1.0 else ctx.value(product.stored * tf.cast(alpha, product.dtype), product.order)


@op("TransposeMatMul", layout=AxisPolicy.VALUES, domain=MS)
def transpose_mat_mul(
    ctx: Context, a: Value, b: Value, *, alpha: float = 1.0, transA: int = 0, transB: int = 0,  # noqa: N803
) -> Value:  # fmt: skip
    """Lower TransposeMatMul, the first name of FusedMatMul."""
    return fused_mat_mul(ctx, a, b, alpha=alpha, transA=transA, transB=transB)


@op("FusedMatMulActivation", layout=AxisPolicy.VALUES, domain=MS)
def fused_mat_mul_activation(
    ctx: Context, a: Value, b: Value, *, activation: str, activation_alpha: float | None = None,
    activation_axis: int | None = None, activation_beta: float | None = None, activation_gamma: float | None = None,
    alpha: float = 1.0, transA: int = 0, transB: int = 0, transBatchA: int = 0, transBatchB: int = 0,  # noqa: N803
) -> Value:  # fmt: skip
    """Lower FusedMatMulActivation: FusedMatMul, then the activation."""
    product = fused_mat_mul(
        ctx, a, b, alpha=alpha, transA=transA, transB=transB, transBatchA=transBatchA, transBatchB=transBatchB
    )
    if activation == "Softmax":
        return lower(ctx, "Softmax", product, axis=-1 if activation_axis is None else activation_axis)
    second = activation_gamma if activation == "Selu" else activation_beta
    return _activated(ctx, product, activation, (activation_alpha, second))


@op("FusedGemm", layout=AxisPolicy.VALUES, domain=MS)
def fused_gemm(
    ctx: Context, a: Value, b: Value, c: Value | None = None, *, activation: str | None = None,
    activation_alpha: float | None = None, activation_beta: float | None = None, activation_gamma: float | None = None,
    alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,  # noqa: N803
) -> Value:  # fmt: skip
    """Lower FusedGemm: Gemm, then the activation."""
    product = lower(ctx, "Gemm", a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    second = activation_gamma if activation == "Selu" else activation_beta
    return _activated(ctx, product, activation, (activation_alpha, second))


@op("FusedConv", layout=AxisPolicy.VALUES, domain=MS)
def fused_conv(
    ctx: Context, x: Value, w: Value, bias: Value | None = None, z: Value | None = None, *, activation: str | None = None,
    activation_params: Sequence[float] = (), auto_pad: str = "NOTSET", dilations: Sequence[int] | None = None,
    group: int = 1, kernel_shape: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    """Lower FusedConv: Conv, plus z, then the activation."""
    geometry = without_none(dilations=dilations, kernel_shape=kernel_shape, pads=pads, strides=strides)
    result = lower(ctx, "Conv", x, w, bias, auto_pad=auto_pad, group=group, **geometry)
    total = result if z is None else lower(ctx, "Add", result, z)
    return _activated(ctx, total, activation, activation_params)


@op("MatMulNBits", layout=AxisPolicy.VALUES, domain=MS)
def mat_mul_n_bits(
    ctx: Context, a: Value, b: Value, scales: Value, zero_points: Value | None = None, g_idx: Value | None = None,
    bias: Value | None = None, *, K: int, N: int, accuracy_level: int = 0, bits: int = 4, block_size: int,  # noqa: N803
    weight_prepacked: int = 0,
) -> Value:  # fmt: skip
    """Lower MatMulNBits: a [..., K] @ ((b - zero point) * scale), with b in blocks of `bits`-bit numbers.

    The weights are unpacked at build time. accuracy_level allows ONNX Runtime a lower precision than a's dtype; it is
    ignored here.
    """
    if g_idx is not None or weight_prepacked:
        raise ctx.reject("MatMulNBits with g_idx or prepacked weights is not supported.", fix="quantize the model again")
    if b.array is None or scales.array is None or (zero_points is not None and zero_points.array is None):
        raise ctx.reject(
            "MatMulNBits is supported only if its weights, scales and zero points are constants; the limit is tfbundle's.",
            fix="save the quantized weights in the model",
        )
    zeros = None if zero_points is None else zero_points.array
    matrix = _unpacked(b.array.reshape(N, -1), scales.array.reshape(N, -1), zeros, bits, block_size)[:, :K]
    weights = ctx.constant(np.ascontiguousarray(matrix.T).astype(a.dtype.as_numpy_dtype))
    return sized_like(ctx, lower(ctx, "Linear", a, weights, bias, domain="tfbundle"), a)


def _unpacked(packed: Array, scales: Array, zeros: Array | None, bits: int, block_size: int) -> Array:
    """Return float32 [N, blocks * block_size] from bytes [N, …], numbers in their low bits first; scales are [N, blocks]."""
    rows, blocks = scales.shape
    quantized = _numbers(packed, bits).reshape(rows, blocks, -1)[:, :, :block_size].astype(np.float32)
    if zeros is None:
        offset: Any = np.float32(2 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        offset = _numbers(zeros.reshape(rows, -1), bits)[:, :blocks, None].astype(np.float32)
    else:
        offset = zeros.reshape(rows, blocks, 1).astype(np.float32)
    result: Array = ((quantized - offset) * scales[:, :, None].astype(np.float32)).reshape(rows, -1)
    return result


def _numbers(packed: Array, bits: int) -> Array:
    """Return the `bits`-bit numbers in each row of bytes."""
    flat = np.unpackbits(packed, axis=1, bitorder="little")
    count = flat.shape[1] // bits
    groups = flat[:, : count * bits].reshape(len(packed), count, bits)
    result: Array = (groups * (1 << np.arange(bits))).sum(-1)
    return result
