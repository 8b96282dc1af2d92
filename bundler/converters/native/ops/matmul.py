"""Matrix products.

https://onnx.ai/onnx/operators/onnx__MatMul.html, https://onnx.ai/onnx/operators/onnx__Gemm.html
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native import products, ranks
from bundler.converters.native.context import Context
from bundler.converters.native.dims import Dim, full_shape
from bundler.converters.native.dims import product as size_product
from bundler.converters.native.layouts import known_rank
from bundler.converters.native.ops.fake_quantize import product
from bundler.converters.native.ops.half import in_single
from bundler.converters.native.ops.moves import offer_move
from bundler.converters.native.orders import Order, identity
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


@op("MatMul", layout=AxisPolicy.VALUES)
def matmul(ctx: Context, a: Value, b: Value) -> Value:
    """Lower MatMul: a [..., M, K] @ b [..., K, N] by NumPy's rules for vectors and broadcasting."""
    rank_a, rank_b = known_rank(a), known_rank(b)
    if rank_a == 1 or rank_b == 1:
        return ctx.value(_with_vector(ctx, a.tensor, b.tensor, rank_a, rank_b))
    if rank_b == 2 and rank_a > 2:
        return linear(ctx, a, b)
    left, swap_left = _last_two(ctx, a)
    right, swap_right = _last_two(ctx, b)
    if left.dtype in (tf.int8, tf.uint8, tf.int16, tf.uint16, tf.uint32, tf.uint64):
        left, right = tf.cast(left, tf.int64), tf.cast(right, tf.int64)
    swapped = {"transpose_a": swap_left, "transpose_b": swap_right}
    return ctx.value(tf.cast(ranks.product(left, right, ctx.target, **swapped), a.dtype))


def _with_vector(ctx: Context, a: Tensor, b: Tensor, rank_a: int, rank_b: int) -> Tensor:
    if rank_a == 1 and rank_b == 1:
        return in_single(lambda x, y: tf.reduce_sum(x * y))(a, b)
    if rank_a == 1:
        return tf.squeeze(ranks.product(tf.expand_dims(a, 0), b, ctx.target), -2)
    return tf.squeeze(ranks.product(a, tf.expand_dims(b, -1), ctx.target), -1)


def _last_two(ctx: Context, value: Value) -> tuple[Tensor, bool]:
    """Return the operand, and whether its last two axes are swapped, which costs the product nothing."""
    order = value.order
    if order is None or value.is_constant:
        return value.tensor, False
    rank = len(order)
    swapped: Order = (*identity(rank)[:-2], rank - 1, rank - 2)
    wanted = swapped if order[-1] == rank - 2 else None  # the last storage axis stays in its place
    offer_move(ctx, value, wanted)
    return value.in_order(wanted), wanted is not None


@op("Linear", layout=AxisPolicy.VALUES, domain="tfbundle")
def linear(ctx: Context, x: Value, w: Value, bias: Value | None = None) -> Value:
    """Lower Linear (made by fuse_linear): x [..., K] @ w [K, N] + bias [N].

    It becomes one product of matrices, which TensorFlow fuses with its bias. TFLite's FULLY_CONNECTED takes x with all its axes,
    so that no reshape is needed, which XNNPACK does not run if two sizes are dynamic.
    """
    if ctx.target == "tflite" and 2 < known_rank(x) <= ranks.MOST_AXES["tflite"] and _is_plain(w):
        result = products.matmul(x.tensor, w.tensor)
        return ctx.value(result if bias is None else tf.nn.bias_add(result, bias.tensor))
    if known_rank(x) == 2:
        return ctx.value(product(ctx, x.tensor, w, w.tensor, None if bias is None else bias.tensor))
    *leading, _ = ctx.sizes(x)
    rows = product(ctx, _rows(ctx, x, w), w, w.tensor, None if bias is None else bias.tensor)
    outer = ctx.dim(w, 1)
    if isinstance(outer, Dim):
        return ctx.value(tf.reshape(rows, full_shape([*leading, outer])))
    return Value.from_flattened(rows, [*leading, outer], ctx.store)


def _is_plain(w: Value) -> bool:
    """Return whether w is a constant float matrix that does not come quantized."""
    return w.array is not None and w.array.dtype == np.float32 and w.array.size > 0 and w.quant_params is None


def _rows(ctx: Context, x: Value, w: Value) -> Tensor:
    """Return x as [rows, K]. Where K is dynamic, the rows are counted: for K = 0, -1 does not tell how many there are."""
    if x.order is None and x.shape[-1]:
        return x.rows
    *leading, _ = ctx.sizes(x)
    inner = ctx.dim(w, 0)
    rows = -1 if isinstance(inner, int) and inner else size_product(leading)
    return tf.reshape(x.tensor, full_shape([rows, inner]))


@op("Gemm", layout=AxisPolicy.VALUES)
def gemm(
    ctx: Context, a: Value, b: Value, c: Value | None = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0,  # noqa: N803
) -> Value:  # fmt: skip
    """Lower Gemm: alpha * a' @ b' + beta * c; a constant b is transposed at build time."""
    bias = _bias(c, beta, b.shape[0 if transB else 1])
    if b.array is not None and b.array.dtype.kind == "f":
        matrix = b.array.T if transB else b.array
        scaled = np.ascontiguousarray(matrix * b.array.dtype.type(alpha) if alpha != 1.0 else matrix)
        weight = b if alpha == 1.0 else ctx.constant(scaled)
        result = product(ctx, a.tensor, weight, ctx.weight(scaled, b.name), bias, flip=bool(transA))
    else:
        result = products.matmul(a.tensor, b.tensor, transpose_a=bool(transA), transpose_b=bool(transB))
        result = result if alpha == 1.0 else tf.cast(alpha, result.dtype) * result
        result = result if bias is None else tf.nn.bias_add(result, bias)
    if c is None or bias is not None:
        return ctx.value(result)
    return ctx.value(result + (c.tensor if beta == 1.0 else tf.cast(beta, c.dtype) * c.tensor))


def _bias(c: Value | None, beta: float, width: int | None) -> Tensor | None:
    """Return c as a bias for tf.nn.bias_add if it is a vector of the result's width, otherwise None.

    TensorFlow fuses an Add of [1, N] too, and then fails: "bias must be 1-dimensional" (2.21).
    """
    if c is None or beta != 1.0 or not c.dtype.is_floating or width is None or c.shape not in ((width,), (1, width)):
        return None
    return c.tensor if c.rank == 1 else tf.reshape(c.tensor, [-1])


@op("Einsum")
def einsum(*tensors: Tensor, equation: str) -> Tensor:
    """Lower Einsum: sums of products by the index letters of the equation.

    Without an output, that is the ellipsis and every letter that occurs once, in alphabetical order. TensorFlow needs the output
    spelled out, and an ellipsis in it, whose axes are summed afterwards if the equation drops them.
    """
    terms, arrow, output = equation.replace(" ", "").partition("->")
    if "..." not in terms:
        return tf.einsum(f"{terms}{arrow}{output}", *tensors)
    letters = terms.replace("...", "").replace(",", "")
    if not arrow:
        output = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    if "..." in output:
        return tf.einsum(f"{terms}->{output}", *tensors)
    hidden = [t.shape.rank - len(term) + 3 for t, term in zip(tensors, terms.split(","), strict=True) if "..." in term]
    return tf.reduce_sum(tf.einsum(f"{terms}->...{output}", *tensors), list(range(max(hidden))))
