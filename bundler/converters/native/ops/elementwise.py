"""Arithmetic, activations, comparisons and logic: every output element depends on the input elements at its place.

https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bundler.converters.native.contents import Image
from bundler.converters.native.context import Context
from bundler.converters.native.layouts import both_flattened, elementwise
from bundler.converters.native.nodes import is_read_once
from bundler.converters.native.ops.dtypes import convert, tensor_dtype
from bundler.converters.native.ops.half import in_single
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

E = AxisPolicy.ELEMENTWISE

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Acos": tf.acos,
    "Acosh": tf.acosh,
    "Asin": tf.asin,
    "Asinh": tf.asinh,
    "Atan": tf.atan,
    "Atanh": tf.atanh,
    "Ceil": tf.math.ceil,
    "Cos": tf.cos,
    "Cosh": tf.cosh,
    "Erf": tf.math.erf,
    "Exp": tf.exp,
    "Floor": tf.floor,
    "IsNaN": tf.math.is_nan,
    "Log": tf.math.log,
    "Neg": tf.negative,
    "Not": tf.logical_not,
    "Reciprocal": tf.math.reciprocal,
    "Round": tf.round,
    "Sin": tf.sin,
    "Sinh": tf.sinh,
    "Softplus": in_single(tf.math.softplus),
    "Softsign": in_single(tf.math.softsign),
    "Sqrt": tf.sqrt,
    "Tan": tf.tan,
    "Tanh": tf.tanh,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": tf.logical_and,
    "BitwiseAnd": tf.bitwise.bitwise_and,
    "BitwiseOr": tf.bitwise.bitwise_or,
    "BitwiseXor": tf.bitwise.bitwise_xor,
    "Equal": tf.equal,
    "Greater": tf.greater,
    "GreaterOrEqual": tf.greater_equal,
    "Less": tf.less,
    "LessOrEqual": tf.less_equal,
    "Mul": tf.multiply,
    "Or": tf.logical_or,
    "Sub": tf.subtract,
    "Xor": tf.math.logical_xor,
}

_VARIADIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Max": tf.maximum, "Min": tf.minimum, "Sum": tf.add}


@op("Add", layout=AxisPolicy.VALUES)
def add(ctx: Context, a: Value, b: Value) -> Value:
    """Lower Add; a sum of two computed tensors of the same sizes becomes AddN.

    TensorFlow's optimiser fuses an Add into the convolution or product before it only if it can see that nothing is
    broadcast, which dynamic sizes hide from it.
    """
    if ctx.target == "serving" and a.dtype.is_floating and _same_sizes(ctx, a, b):
        sum_ = _sum_with_convolution(ctx, a, b)
        if sum_ is not None:
            return sum_
        operands = elementwise(both_flattened(a, b), target=ctx.target)
        return operands.value(tf.add_n(operands.tensors), ctx.store)
    operands = elementwise((a, b), target=ctx.target)
    return operands.value(tf.add(*operands.tensors), ctx.store)


def _sum_with_convolution(ctx: Context, a: Value, b: Value) -> Value | None:
    """Add to a convolution's own result that only this node reads: TensorFlow fuses the sum into the convolution.

    oneDNN's fused convolution returns its input's shape, whatever that of the addend, where there is nothing to compute.
    """
    if ctx.node is None or ctx.node.op_type not in ("Add", "Sum") or len(ctx.node.inputs) != 2:
        return None  # another operator lowers a part of its own as an Add
    for value, other, source in zip((a, b), (b, a), ctx.node.inputs, strict=True):
        image = value.image
        if image is not None and image.takes_sum and is_read_once(source):
            total = tf.add_n([image.tensor, other.in_order(value.order)])
            return Value.convolved(Image(total, image.sizes, total), ctx.store, value.order)
    return None


def _same_sizes(ctx: Context, a: Value, b: Value) -> bool:
    if a.is_constant or b.is_constant or a.rank is None or a.rank != b.rank:
        return False
    return ctx.sizes(a) == ctx.sizes(b)


def _register_unary(name: str, compute: Callable[[Tensor], Tensor]) -> None:
    @op(name, layout=E)
    def unary(x: Tensor) -> Tensor:
        return compute(x)


def _register_binary(name: str, compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name, layout=E)
    def binary(a: Tensor, b: Tensor) -> Tensor:
        return compute(a, b)


def _register_variadic(name: str, compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name, layout=E)
    def variadic(*tensors: Tensor) -> Tensor:
        return functools.reduce(compute, tensors)


for _name, _compute in _UNARY.items():
    _register_unary(_name, _compute)
for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
for _name, _binary in _VARIADIC.items():
    _register_variadic(_name, _binary)


@op("Abs", layout=E)
def absolute(ctx: Context, x: Tensor) -> Tensor:
    """Lower Abs; TFLite's operator takes no int64."""
    return tf.maximum(x, -x) if ctx.target == "tflite" and x.dtype == tf.int64 else tf.abs(x)


@op("Sign", layout=E)
def sign(ctx: Context, x: Tensor) -> Tensor:
    """Lower Sign; TFLite's operator takes no int64."""
    if ctx.target == "tflite" and x.dtype == tf.int64:
        return tf.cast(x > 0, x.dtype) - tf.cast(x < 0, x.dtype)
    return tf.sign(x)


@op("BitwiseNot", layout=E)
def bitwise_not(x: Tensor) -> Tensor:
    """Lower BitwiseNot: invert every bit."""
    return tf.bitwise.invert(x)


@op("Div", layout=E)
def div(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
    """Lower Div; integers are divided towards zero."""
    if not a.dtype.is_integer:
        return tf.divide(a, b)
    return _quotient_of_int64(a, b) if ctx.target == "tflite" and a.dtype == tf.int64 else tf.truncatediv(a, b)


def _quotient_of_int64(a: Tensor, b: Tensor) -> Tensor:
    """Divide towards zero without a division of int64, for which TFLite has no kernel.

    A float32 quotient is right to 22 bits, and what it leaves is divided again: three of them give all 64 bits. What they begin
    with is a multiple of b, so that the last one leaves nothing.
    """
    remainder = tf.math.floormod(a, b)
    rest, quotient = a - remainder, tf.zeros_like(a)
    for _ in range(3):
        part = tf.cast(tf.round(tf.cast(rest, tf.float32) / tf.cast(b, tf.float32)), tf.int64)
        quotient, rest = quotient + part, rest - part * b
    was_rounded_down = tf.logical_and(tf.not_equal(remainder, 0), tf.not_equal(tf.less(a, 0), tf.less(b, 0)))
    return quotient + tf.cast(was_rounded_down, tf.int64)


@op("Mod", layout=E)
@in_single
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """Lower Mod; the result has the sign of the dividend with fmod=1 (C's fmod), otherwise that of the divisor."""
    return tf.raw_ops.TruncateMod(x=a, y=b) if fmod else tf.math.floormod(a, b)


@op("Pow", layout=E)
def power(x: Tensor, exponent: Tensor) -> Tensor:
    """Lower Pow in the dtype of x, whatever that of the exponent; some constant exponents become square, sqrt or rsqrt."""
    known = tf.get_static_value(exponent)
    if known is not None and known.size == 1 and not x.dtype.is_integer:
        special = {2.0: tf.square, 0.5: tf.sqrt, -0.5: tf.math.rsqrt, 1.0: tf.identity}.get(float(known.reshape(-1)[0]))
        if special is not None and known.ndim <= (x.shape.rank or 0):
            return special(x)
    if x.dtype.is_integer and exponent.dtype.is_floating:
        return tf.cast(tf.pow(tf.cast(x, exponent.dtype), exponent), x.dtype)
    exponent = tf.cast(exponent, x.dtype)
    known = None if known is None else known.astype(x.dtype.as_numpy_dtype)
    if x.dtype.is_integer and not x.dtype.is_unsigned and (known is None or (known < 0).any()):
        return _integer_power(x, exponent)
    return tf.pow(x, exponent)


def _integer_power(x: Tensor, exponent: Tensor) -> Tensor:
    """Return the power of integers; a negative one is rounded towards zero as in PyTorch, while tf.pow refuses it."""
    one, zero = tf.ones([], x.dtype), tf.zeros([], x.dtype)
    odd = tf.not_equal(tf.math.floormod(exponent, one + one), zero)
    negative = tf.where(tf.equal(x, one), one, tf.where(tf.equal(x, -one), tf.where(odd, -one, one), zero))
    return tf.where(exponent < zero, negative, tf.pow(x, tf.maximum(exponent, zero)))


@op("Mean", layout=E)
def mean(*tensors: Tensor) -> Tensor:
    """Lower Mean: the sum of the inputs divided by their number."""
    return tf.divide(functools.reduce(tf.add, tensors), tf.cast(len(tensors), tensors[0].dtype))


@op("Where", layout=E)
def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Lower Where: a where the condition holds, otherwise b."""
    return tf.where(condition, a, b)


@op("IsInf", layout=E)
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Lower IsInf, for either sign or only one."""
    infinite = tf.math.is_inf(x)
    if not detect_negative:
        infinite = tf.logical_and(infinite, x > 0)
    if not detect_positive:
        infinite = tf.logical_and(infinite, x < 0)
    return infinite


@op("Relu", layout=AxisPolicy.VALUES)
def relu(ctx: Context, x: Value) -> Value:
    """Lower Relu: max(0, x); the result is known to be non-negative."""
    operands = elementwise((x,), target=ctx.target)
    result = operands.value(tf.nn.relu(operands.tensors[0]), ctx.store)
    result.non_negative = True
    return result


@op("LeakyRelu", layout=E)
@in_single
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """Lower LeakyRelu: x where x >= 0, otherwise alpha * x."""
    return tf.nn.leaky_relu(x, alpha)


@op("PRelu", layout=E)
@in_single
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Lower PRelu: x where x >= 0, otherwise slope * x; slope is broadcast to the shape of x."""
    return tf.nn.relu(x) - slope * tf.nn.relu(-x)


@op("ThresholdedRelu", layout=E)
@in_single
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Lower ThresholdedRelu: x where x > alpha, otherwise 0."""
    return tf.where(x > alpha, x, tf.zeros([], x.dtype))


@op("Elu", layout=E)
@in_single
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Lower Elu: x where x >= 0, otherwise alpha * (exp(x) - 1)."""
    return tf.nn.elu(x) if alpha == 1.0 else tf.where(x < 0, alpha * tf.math.expm1(tf.minimum(x, 0)), x)


@op("Celu", layout=E)
@in_single
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Lower Celu: max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    return tf.nn.elu(x) if alpha == 1.0 else tf.nn.relu(x) + tf.minimum(0.0, alpha * tf.math.expm1(x / alpha))


@op("Selu", layout=E)
@in_single
def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """Lower Selu: gamma * x where x > 0, otherwise gamma * alpha * (exp(x) - 1)."""
    return gamma * (tf.nn.relu(x) + alpha * tf.math.expm1(tf.minimum(x, 0)))


@op("Gelu", layout=E)
@in_single
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Lower Gelu: x * Phi(x), by erf or approximated by tanh."""
    return tf.nn.gelu(x, approximate=approximate == "tanh")


@op("Mish", layout=E)
@in_single
def mish(x: Tensor) -> Tensor:
    """Lower Mish: x * tanh(softplus(x))."""
    return x * tf.tanh(tf.math.softplus(x))


@op("Swish", layout=E)
@in_single
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Lower Swish: x * sigmoid(alpha * x), as two ops: TensorFlow's remapper fuses exactly this pair for alpha 1."""
    return x * tf.sigmoid(x if alpha == 1.0 else alpha * x)


@op("Sigmoid", layout=E)
def sigmoid(ctx: Context, x: Tensor) -> Tensor:
    """Lower Sigmoid.

    TensorFlow 2.12 and 2.13 with oneDNN take `a * sigmoid(b)` for `b * sigmoid(b)` if a and b are two parts of one Split, as in a
    gated linear unit; so the SavedModel has a Slice in place of b.
    """
    return in_single(tf.sigmoid)(_sliced(x) if ctx.target == "serving" else x)


def _sliced(x: Tensor) -> Tensor:
    """Return a part of a Split as a Slice, if the sizes of the parts up to it are known; other tensors unchanged."""
    if not tf.is_symbolic_tensor(x) or x.op.type not in ("Split", "SplitV"):
        return x
    whole, axis = (x.op.inputs[1], x.op.inputs[0]) if x.op.type == "Split" else (x.op.inputs[0], x.op.inputs[2])
    number = tf.get_static_value(axis)
    if number is None or x.shape.rank is None:
        return x
    place = int(number) % x.shape.rank
    sizes = [part.shape[place] for part in x.op.outputs[: x.value_index + 1]]
    if None in sizes:
        return x
    begin, size = [0] * x.shape.rank, [-1] * x.shape.rank
    begin[place], size[place] = sum(sizes[:-1]), sizes[-1]
    return tf.slice(whole, begin, size)


@op("HardSigmoid", layout=E)
@in_single
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """Lower HardSigmoid: max(0, min(1, alpha * x + beta)).

    PyTorch's form (alpha 1/6, beta 1/2) becomes Relu6, which TFLite and XNNPACK support.
    """
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return tf.nn.relu6(x + 3.0) * tf.constant(1 / 6, x.dtype)
    return tf.clip_by_value(alpha * x + beta, 0.0, 1.0)


@op("HardSwish", layout=E)
@in_single
def hard_swish(x: Tensor) -> Tensor:
    """Lower HardSwish: x * relu6(x + 3) / 6, in the order of factors that TFLite's converter matches as HARD_SWISH."""
    return x * (tf.nn.relu6(x + tf.constant(3, x.dtype)) * tf.constant(1 / 6, x.dtype))


@op("Shrink", layout=E)
@in_single
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """Lower Shrink: x + bias where x < -lambd, x - bias where x > lambd, otherwise 0."""
    bias_ = tf.cast(bias, x.dtype)
    zero = tf.zeros([], x.dtype)
    limit = tf.cast(lambd, x.dtype)
    return tf.where(x < -limit, x + bias_, tf.where(x > limit, x - bias_, zero))


@op("Clip", layout=E)
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Lower Clip: min(max(x, low), high), as Relu or Relu6 where the bounds are theirs."""
    bottom = None if low is None else tf.get_static_value(low)
    top = None if high is None else tf.get_static_value(high)
    if x.dtype.is_floating and bottom is not None and bottom == 0 and (high is None or (top is not None and top == 6)):
        return tf.nn.relu(x) if high is None else tf.nn.relu6(x)
    if low is not None:
        x = tf.maximum(x, low)
    return x if high is None else tf.minimum(x, high)


@op("Cast", layout=E)
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """Lower Cast: convert x to the dtype `to`."""
    return convert(x, tensor_dtype(to), saturate=bool(saturate))


@op("CastLike", layout=AxisPolicy.VALUES)
def cast_like(ctx: Context, x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    """Lower CastLike: cast x to the dtype of `like`."""
    return ctx.value(convert(x.stored, like.dtype, saturate=bool(saturate)), x.order)


def _dropped(ctx: Context, x: Any, ratio: Any, training: Tensor, seed: int) -> Any:
    """Drop elements at random if the tensor `training` is true at run time."""
    share = tf.constant(0.5) if ratio is None else tf.cast(tf.reshape(ratio.tensor, []), tf.float32)
    share = tf.where(tf.reshape(training, []), share, 0.0)
    mask = tf.random.uniform(tf.shape(x.stored), seed=seed or None) >= share
    scaled = x.stored / tf.cast(1.0 - share, x.dtype)
    return ctx.value(tf.where(mask, scaled, tf.zeros([], x.dtype)), x.order), ctx.value(mask, x.order)


@op("Identity", layout=AxisPolicy.VALUES)
def identity(ctx: Context, x: Any) -> Any:
    """Lower Identity: x itself."""
    return x


@op("Dropout", layout=AxisPolicy.VALUES)
def dropout(ctx: Context, x: Any, ratio: Any = None, training_mode: Any = None, *, seed: int = 0) -> Any:
    """Lower Dropout: the identity at inference, with a mask that is all true."""
    if training_mode is not None and training_mode.array is None:
        return _dropped(ctx, x, ratio, training_mode.tensor, seed)
    if training_mode is not None and bool(training_mode.array):
        raise ctx.reject("Dropout is in training mode.", fix="call model.eval() before the export")
    if ctx.node is not None and len(ctx.node.outputs) > 1:
        return x, ctx.value(tf.ones_like(x.stored, dtype=tf.bool), x.order)
    return x
