"""Fourier transforms, windows and mel filters.

https://onnx.ai/onnx/operators/onnx__DFT.html, https://onnx.ai/onnx/operators/onnx__STFT.html,
https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

_FLOAT = 1  # onnx.TensorProto.FLOAT


@op("DFT", layout=AxisPolicy.VALUES, since=20)
def dft(
    ctx: Context, x: Value, length: Value | None = None, axis: Value | None = None, *, inverse: int = 0,
    onesided: int = 0,
) -> Value:  # fmt: skip
    """Lower DFT of x [..., 1 or 2] (real, or real and imaginary) over one axis; the result is [..., 2]."""
    place = -2 if axis is None else axis.tensor if axis.array is None else int(axis.array.reshape(-1)[0])
    return ctx.value(_transform(ctx, x.tensor, length, place, bool(inverse), bool(onesided)))


@op("DFT", layout=AxisPolicy.VALUES, since=17)
def dft_17(
    ctx: Context, x: Value, length: Value | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Value:
    """Lower DFT before opset 20, where the axis is an attribute."""
    return ctx.value(_transform(ctx, x.tensor, length, axis, bool(inverse), bool(onesided)))


def _transform(
    ctx: Context, x: Tensor, length: Value | None, axis: int | Tensor, inverse: bool, onesided: bool
) -> Tensor:
    rank = x.shape.rank
    dtype = x.dtype
    if ctx.target == "tflite" and isinstance(axis, int) and dtype == tf.float32:
        return _by_matrix(x, length, axis, inverse, onesided)
    # Double precision forward, as in NumPy and so in ONNX's reference: bins that cancel become zero.
    x = tf.cast(x, tf.float64 if not inverse else _at_least_single(dtype))
    to_real = inverse and onesided  # from half a spectrum back to a real signal
    signal = _complex(x)
    order, back = _to_the_end(axis, rank)
    moved = tf.transpose(signal, order)
    count = tf.shape(moved)[-1] if length is None else tf.cast(tf.reshape(length.tensor, []), tf.int32)
    if to_real:
        bins = tf.signal.irfft(moved, [count if length is not None else 2 * (count - 1)])
        return tf.cast(tf.expand_dims(tf.transpose(bins, back), -1), dtype)
    moved = _fitted(moved, count)
    bins = tf.signal.ifft(moved) if inverse else tf.signal.fft(moved)
    if onesided:
        bins = bins[..., : count // 2 + 1]
    result = tf.transpose(bins, back)
    return tf.cast(tf.stack([tf.math.real(result), tf.math.imag(result)], -1), dtype)


def _by_matrix(x: Tensor, length: Value | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    """Return the transform as products with matrices of cosines and sines: TFLite has no Fourier transform of this kind."""
    order, back = _to_the_end(axis, x.shape.rank)
    real = tf.transpose(x[..., 0], order)
    imaginary = tf.transpose(x[..., 1], order) if x.shape[-1] == 2 else None
    given = real.shape[-1] or tf.shape(real)[-1]
    to_real = inverse and onesided
    count = _number(length) if length is not None else 2 * (given - 1) if to_real else given
    taken, made = (count // 2 + 1 if half else count for half in (to_real, onesided and not inverse))
    cosines, sines = _waves(taken, made, count)
    if to_real:  # each bin but the first and the middle one stands for two
        place = tf.range(taken)
        weights = tf.where(tf.logical_or(place == 0, 2 * place == count), 1.0, 2.0)[:, None]
        cosines, sines = cosines * weights, sines * weights
    if inverse:
        size = tf.cast(count, x.dtype)
        cosines, sines = cosines / size, -sines / size
    parts = [tf.matmul(_fitted(real, taken), matrix) for matrix in (cosines, -sines)]
    if imaginary is not None:
        fitted = _fitted(imaginary, taken)
        parts = [parts[0] + tf.matmul(fitted, sines), parts[1] + tf.matmul(fitted, cosines)]
    return tf.stack([tf.transpose(part, back) for part in (parts[:1] if to_real else parts)], -1)


def _waves(rows: Any, columns: Any, count: Any) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of 2 pi r c / count, [rows, columns]. The product is reduced to one period, which keeps it exact."""
    if all(isinstance(size, int) for size in (rows, columns, count)):
        angles = np.outer(np.arange(rows), np.arange(columns)) % count * (2 * np.pi / count)
        return tf.constant(np.cos(angles), tf.float32), tf.constant(np.sin(angles), tf.float32)
    turns = tf.math.floormod(tf.range(rows)[:, None] * tf.range(columns)[None], count)
    angle = tf.cast(turns, tf.float32) * (2 * math.pi) / tf.cast(count, tf.float32)
    return tf.cos(angle), tf.sin(angle)


def _to_the_end(axis: int | Tensor, rank: int) -> tuple[Any, Any]:
    """Return the permutation that puts an axis of the signal (of rank - 1 axes) last, and its inverse."""
    if isinstance(axis, int):
        place = axis % rank
        order = [a for a in range(rank - 1) if a != place] + [place]
        return order, [int(a) for a in np.argsort(order)]
    place = tf.math.floormod(tf.cast(tf.reshape(axis, []), tf.int32), rank)
    computed = tf.concat([tf.range(place), tf.range(place + 1, rank - 1), [place]], 0)
    return computed, tf.math.invert_permutation(computed)


def _at_least_single(dtype: tf.DType) -> tf.DType:
    return dtype if dtype in (tf.float32, tf.float64) else tf.float32


def _complex_dtype(real: tf.DType) -> tf.DType:
    return tf.complex128 if real == tf.float64 else tf.complex64


def _complex(x: Tensor) -> Tensor:
    """Turn [..., 1 or 2] into complex [...]."""
    imaginary = x[..., 1] if x.shape[-1] == 2 else tf.zeros_like(x[..., 0])
    return tf.complex(x[..., 0], imaginary)


def _fitted(x: Tensor, count: Tensor) -> Tensor:
    """Cut the last axis to `count`, or pad it with zeros."""
    shortened = x[..., :count]
    pads = [[0, 0]] * (x.shape.rank - 1) + [[0, count - tf.shape(shortened)[-1]]]
    return tf.pad(shortened, pads)


@op("STFT", layout=AxisPolicy.VALUES)
def stft(
    ctx: Context, signal: Value, frame_step: Value, window: Value | None = None, frame_length: Value | None = None, *,
    onesided: int = 1,
) -> Value:  # fmt: skip
    """Lower STFT: signal [B, L, 1 or 2] to [B, frames, bins, 2]; an incomplete frame at the end is left out."""
    step = _number(frame_step)
    if frame_length is not None:
        size = _number(frame_length)
    elif window is not None:
        size = window.shape[0] or tf.shape(window.tensor)[0]
    else:
        raise ctx.reject("STFT needs a window or a frame_length.")
    real = signal.shape[-1] == 1 or len(signal.shape) == 2
    data = signal.tensor if len(signal.shape) == 3 else tf.expand_dims(signal.tensor, -1)
    if real:
        frames = tf.signal.frame(data[..., 0], size, step)
        frames = frames if window is None else frames * window.tensor
        bins = tf.signal.rfft(frames) if onesided else tf.signal.fft(tf.cast(frames, _complex_dtype(frames.dtype)))
    else:
        frames = tf.signal.frame(_complex(data), size, step, axis=1)
        if window is not None:
            frames *= tf.cast(window.tensor, frames.dtype)
        bins = tf.signal.fft(frames)
        bins = bins[..., : size // 2 + 1] if onesided else bins
    return ctx.value(tf.stack([tf.math.real(bins), tf.math.imag(bins)], -1))


def _number(value: Value) -> Any:
    return tf.cast(tf.reshape(value.tensor, []), tf.int32) if value.array is None else int(value.array.reshape(-1)[0])


def _register_window(name: str, a0: float, a1: float, a2: float) -> None:
    """Register a window: a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N)."""

    @op(name)
    def window(size: Tensor, *, output_datatype: int = _FLOAT, periodic: int = 1) -> Tensor:
        count = tf.cast(tf.reshape(size, []), tf.float64)
        span = count if periodic else count - 1
        angle = tf.range(count, dtype=tf.float64) * (2 * math.pi) / span
        values = a0 - a1 * tf.cos(angle) + a2 * tf.cos(2 * angle)
        return tf.cast(values, tensor_dtype(output_datatype))


for _name, *_terms in (
    ("HannWindow", 0.5, 0.5, 0.0), ("HammingWindow", 25 / 46, 21 / 46, 0.0), ("BlackmanWindow", 0.42, 0.5, 0.08),
):  # fmt: skip
    _register_window(_name, *_terms)


@op("MelWeightMatrix")
def mel_weight_matrix(
    num_mel_bins: Tensor, dft_length: Tensor, sample_rate: Tensor, lower_edge_hertz: Tensor, upper_edge_hertz: Tensor, *,
    output_datatype: int = _FLOAT,
) -> Tensor:  # fmt: skip
    """Lower MelWeightMatrix: [dft_length // 2 + 1, num_mel_bins], triangles with corners spaced evenly on the mel scale.

    The corners are rounded down to whole bins.
    """
    bins = tf.cast(tf.reshape(num_mel_bins, []), tf.int32)
    length = tf.cast(tf.reshape(dft_length, []), tf.float64)
    rate = tf.cast(tf.reshape(sample_rate, []), tf.float64)
    low, high = (_mel(tf.cast(tf.reshape(hertz, []), tf.float64)) for hertz in (lower_edge_hertz, upper_edge_hertz))
    step = (high - low) / tf.cast(bins + 2, tf.float64)
    mels = low + tf.cast(tf.range(bins + 2), tf.float64) * step
    hertz = 700.0 * tf.math.expm1(mels / 2595.0 * math.log(10.0))
    corners = tf.floor((length + 1.0) * hertz / rate)
    left, center, right = corners[:-2], corners[1:-1], corners[2:]
    spectrum = tf.cast(tf.range(tf.cast(length, tf.int32) // 2 + 1), tf.float64)[:, None]
    rising = (spectrum - left) / tf.maximum(center - left, 1.0)
    falling = (right - spectrum) / tf.maximum(right - center, 1.0)
    up = tf.logical_and(spectrum >= left, spectrum <= center)
    down = tf.logical_and(spectrum > center, spectrum < right)
    peak = tf.logical_and(tf.equal(left, center), tf.equal(spectrum, center))
    zeros = tf.zeros_like(rising)
    weights = tf.where(peak, tf.ones_like(rising), tf.where(up, rising, tf.where(down, falling, zeros)))
    return tf.cast(weights, tensor_dtype(output_datatype))


def _mel(hertz: Tensor) -> Tensor:
    return 2595.0 * tf.math.log1p(hertz / 700.0) / math.log(10.0)
