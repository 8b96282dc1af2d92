"""Features and labels of classical machine learning (domain ai.onnx.ml).

https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html and its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor
from bundler.values.arrays import Array

ML = "ai.onnx.ml"


@op("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(x: Tensor, indices: Tensor) -> Tensor:
    """Lower ArrayFeatureExtractor: the columns `indices` of x [..., C]; a vector is one row."""
    rows = x if x.shape.rank > 1 else tf.expand_dims(x, 0)
    return tf.gather(rows, tf.reshape(indices, [-1]), axis=-1)


@op("Binarizer", domain=ML)
def binarizer(x: Tensor, *, threshold: float = 0.0) -> Tensor:
    """Lower Binarizer: 1 where x > threshold, otherwise 0."""
    return tf.cast(x > tf.cast(threshold, x.dtype), x.dtype)


@op("Scaler", domain=ML)
def scaler(x: Tensor, *, offset: Sequence[float] = (0.0,), scale: Sequence[float] = (1.0,)) -> Tensor:
    """Lower Scaler: (x - offset) * scale in float32, with one offset and scale for all columns or one per column."""
    data = tf.cast(x, tf.float32)
    return (data - tf.constant(offset, tf.float32)) * tf.constant(scale, tf.float32)


@op("Normalizer", domain=ML)
def normalizer(x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Lower Normalizer: each row over its norm, which for MAX is its greatest element with its sign; zero norms count as 1."""
    data = tf.cast(x, tf.float32)
    if norm == "MAX":
        size = tf.reduce_max(data, -1, keepdims=True)
    elif norm == "L1":
        size = tf.reduce_sum(tf.abs(data), -1, keepdims=True)
    else:
        size = tf.sqrt(tf.reduce_sum(tf.square(data), -1, keepdims=True))
    return data / tf.where(tf.equal(size, 0.0), tf.ones_like(size), size)


@op("Imputer", domain=ML)
def imputer(
    x: Tensor, *, imputed_value_floats: Sequence[float] | None = None, imputed_value_int64s: Sequence[int] | None = None,
    replaced_value_float: float = 0.0, replaced_value_int64: int = 0,
) -> Tensor:  # fmt: skip
    """Lower Imputer: replace a value, which may be NaN, by one value for all columns or one per column."""
    if x.dtype.is_floating:
        imputed, replaced = imputed_value_floats, replaced_value_float
    else:
        imputed, replaced = imputed_value_int64s, replaced_value_int64
    missing = tf.math.is_nan(x) if np.isnan(replaced) else tf.equal(x, tf.cast(replaced, x.dtype))
    return tf.where(missing, tf.constant(imputed, x.dtype), x)


@op("FeatureVectorizer", domain=ML)
def feature_vectorizer(*tensors: Tensor, inputdimensions: Sequence[int]) -> Tensor:
    """Lower FeatureVectorizer: the inputs side by side, float32 [N, sum of inputdimensions].

    Each input is cut, or filled with zeros, to its width.
    """
    return tf.concat([_columns(x, width) for x, width in zip(tensors, inputdimensions, strict=True)], 1)


def _columns(x: Tensor, width: int) -> Tensor:
    rows = tf.reshape(x, [1, -1]) if x.shape.rank == 1 else x
    size = int(np.prod(rows.shape[1:]))
    flat = tf.cast(tf.reshape(rows, [-1, size]), tf.float32)
    return flat[:, :width] if size >= width else tf.pad(flat, [[0, 0], [0, width - size]])


@op("OneHotEncoder", domain=ML)
def one_hot_encoder(
    x: Tensor, *, cats_int64s: Sequence[int] | None = None, cats_strings: Sequence[str] | None = None, zeros: int = 1
) -> Tensor:
    """Lower OneHotEncoder: float32 [..., categories].

    An unknown category gives zeros, or with zeros=0 an error when the model runs.
    """
    keys = _strings(cats_strings) if cats_strings else np.asarray(cats_int64s, np.int64)
    index, known = _find(x if x.dtype == tf.string else tf.cast(x, tf.int64), keys)
    if not zeros:
        with tf.control_dependencies([tf.debugging.assert_equal(known, True, "OneHotEncoder: an unknown category")]):
            index = tf.identity(index)
    return tf.one_hot(tf.where(known, index, -1), len(keys))


@op("CategoryMapper", domain=ML)
def category_mapper(
    x: Tensor, *, cats_int64s: Sequence[int], cats_strings: Sequence[str], default_int64: int = -1,
    default_string: str = "_Unused",
) -> Tensor:  # fmt: skip
    """Lower CategoryMapper: map strings to int64 or back."""
    numbers, texts = np.asarray(cats_int64s, np.int64), _strings(cats_strings)
    if x.dtype == tf.string:
        return _look_up(x, texts, numbers, default_int64)
    return _look_up(x, numbers, texts, default_string)


@op("LabelEncoder", domain=ML)
def label_encoder(
    x: Tensor, *, classes_strings: Sequence[str] | None = None, default_float: float = -0.0, default_int64: int = -1,
    default_string: str = "_Unused", default_tensor: Array | None = None, keys_floats: Sequence[float] | None = None,
    keys_int64s: Sequence[int] | None = None, keys_strings: Sequence[str] | None = None,
    keys_tensor: Array | None = None, values_floats: Sequence[float] | None = None,
    values_int64s: Sequence[int] | None = None, values_strings: Sequence[str] | None = None,
    values_tensor: Array | None = None,
) -> Tensor:  # fmt: skip
    """Lower LabelEncoder: values[i] where x is keys[i], otherwise the default.

    In version 1, classes_strings are mapped to their indices or back.
    """
    if classes_strings is not None:
        indices = list(range(len(classes_strings)))
        return category_mapper(
            x, cats_int64s=indices, cats_strings=classes_strings, default_int64=default_int64,
            default_string=default_string,
        )  # fmt: skip
    keys = _table(keys_tensor, keys_strings, keys_int64s, keys_floats)
    values = _table(values_tensor, values_strings, values_int64s, values_floats)
    default: Any = {"O": default_string, "i": default_int64}.get(values.dtype.kind, default_float)
    if default_tensor is not None:
        default = default_tensor.reshape(-1)[0]
    return _look_up(x, keys, values, default)


def _table(
    tensor: Array | None, strings: Sequence[str] | None, integers: Sequence[int] | None, floats: Sequence[float] | None
) -> Array:
    """Return the values of the attribute that is given."""
    if tensor is not None:
        return _strings(tensor.reshape(-1)) if tensor.dtype.kind in "OUS" else tensor.reshape(-1)
    if strings is not None:
        return _strings(strings)
    if integers is not None:
        return np.asarray(integers, np.int64)
    if floats is None:
        raise ValueError("it has no keys or no values")
    return np.asarray(floats, np.float32)


def _strings(texts: Any) -> Array:
    return np.array([t if isinstance(t, bytes) else str(t).encode() for t in texts], object)


def _look_up(x: Tensor, keys: Array, values: Array, default: Any) -> Tensor:
    """Return values[i] where x is keys[i], otherwise the default."""
    index, known = _find(x, keys)
    return tf.where(known, tf.gather(tf.constant(values), index), tf.constant(default, tf.constant(values[:1]).dtype))


def _find(x: Tensor, keys: Array) -> tuple[Tensor, Tensor]:
    """Find for each element of x the index of the first key that equals it (NaN equals NaN), and whether there is one.

    This is a binary search. Strings are searched by a hash; the key that it finds is then compared in full.
    """
    numbers = _searchable(keys)
    order = np.argsort(numbers, kind="stable")
    targets = tf.reshape(_hashed(x) if x.dtype == tf.string else tf.cast(x, numbers.dtype), [-1])
    position = tf.minimum(tf.searchsorted(tf.constant(numbers[order]), targets), len(keys) - 1)
    index = tf.reshape(tf.gather(tf.constant(order, tf.int32), position), tf.shape(x))
    known = tf.equal(tf.gather(tf.constant(keys), index), x)
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        index = tf.where(tf.math.is_nan(x), int(np.isnan(keys).argmax()), index)
        known = tf.logical_or(known, tf.math.is_nan(x))
    return index, known


def _hashed(texts: Any) -> Tensor:
    return tf.strings.to_hash_bucket_fast(texts, (1 << 63) - 1)


def _searchable(keys: Array) -> Array:
    """Return numbers by which the keys are searched.

    Raises:
        ValueError: two different strings have the same hash.
    """
    if keys.dtype.kind != "O":
        return keys if keys.dtype.itemsize >= 4 else keys.astype(np.int64)
    with tf.init_scope():
        hashes: Array = _hashed(keys).numpy()
    if len(np.unique(hashes)) < len(set(keys)):
        raise ValueError("two of its strings have the same 63-bit fingerprint")
    return hashes
