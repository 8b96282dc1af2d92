"""Random numbers, new ones in every run.

https://onnx.ai/onnx/operators/onnx__RandomNormal.html, https://onnx.ai/onnx/operators/onnx__Multinomial.html

The seed of a node becomes TensorFlow's op seed: with a seed, every new session draws the same numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import tensorflow as tf

from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor

_FLOAT = 1  # onnx.TensorProto.FLOAT


def _seed(seed: float | None) -> int | None:
    """Map ONNX's seed, a float, to TensorFlow's, an integer, here of 31 bits."""
    return None if seed is None else zlib.crc32(struct.pack("<f", seed)) >> 1


def _wide(dtype: tf.DType) -> tf.DType:
    return dtype if dtype in (tf.float32, tf.float64) else tf.float32


def _normal(shape: Tensor, dtype: tf.DType, mean: float, scale: float, seed: float | None) -> Tensor:
    return tf.cast(tf.random.normal(shape, mean, scale, _wide(dtype), _seed(seed)), dtype)


def _uniform(shape: Tensor, dtype: tf.DType, low: float, high: float, seed: float | None) -> Tensor:
    return tf.cast(tf.random.uniform(shape, low, high, _wide(dtype), _seed(seed)), dtype)


@op("RandomNormal")
def random_normal(
    *, dtype: int = _FLOAT, mean: float = 0.0, scale: float = 1.0, seed: float | None = None, shape: Sequence[int]
) -> Tensor:
    """Lower RandomNormal: a tensor of this shape."""
    return _normal(list(shape), tensor_dtype(dtype), mean, scale, seed)


@op("RandomNormalLike")
def random_normal_like(
    x: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Tensor:
    """Lower RandomNormalLike: a tensor of the shape of x."""
    return _normal(tf.shape(x), x.dtype if dtype is None else tensor_dtype(dtype), mean, scale, seed)


@op("RandomUniform")
def random_uniform(
    *, dtype: int = _FLOAT, high: float = 1.0, low: float = 0.0, seed: float | None = None, shape: Sequence[int]
) -> Tensor:
    """Lower RandomUniform: a tensor of this shape."""
    return _uniform(list(shape), tensor_dtype(dtype), low, high, seed)


@op("RandomUniformLike")
def random_uniform_like(
    x: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Tensor:
    """Lower RandomUniformLike: a tensor of the shape of x."""
    return _uniform(tf.shape(x), x.dtype if dtype is None else tensor_dtype(dtype), low, high, seed)


@op("Bernoulli")
def bernoulli(x: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """Lower Bernoulli: 1 with the probability x, otherwise 0."""
    drawn = _uniform(tf.shape(x), _wide(x.dtype), 0.0, 1.0, seed)
    return tf.cast(drawn < tf.cast(x, drawn.dtype), x.dtype if dtype is None else tensor_dtype(dtype))


@op("Multinomial")
def multinomial(x: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Tensor:
    """Lower Multinomial: class indices [N, sample_size] drawn from log probabilities x [N, C]; int32 by default."""
    drawn = tf.random.categorical(tf.cast(x, tf.float32), sample_size, tf.int64, _seed(seed))
    return tf.cast(drawn, tensor_dtype(dtype))
