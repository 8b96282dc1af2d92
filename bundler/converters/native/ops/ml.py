"""Features and labels of classical machine learning. https://onnx.ai/onnx/operators/index_ai.onnx.ml.html"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.registry import op
from bundler.converters.native.value import Tensor
from bundler.values.arrays import Array

ML = "ai.onnx.ml"


@op("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(x: Tensor, indices: Tensor) -> Tensor:
    """The columns `indices` of x [..., C]; a vector is one row."""
    rows = x if x.shape.rank > 1 else tf.expand_dims(x, 0)
    return tf.gather(rows, tf.reshape(indices, [-1]), axis=-1)


@op("Binarizer", domain=ML)
def binarizer(x: Tensor, *, threshold: float = 0.0) -> Tensor:
    return tf.cast(x > tf.cast(threshold, x.dtype), x.dtype)


@op("Scaler", domain=ML)
def scaler(x: Tensor, *, offset: Sequence[float] = (0.0,), scale: Sequence[float] = (1.0,)) -> Tensor:
    """(x - offset) * scale in float32, one of each for all columns or one a column."""
    data = tf.cast(x, tf.float32)
    return (data - tf.constant(offset, tf.float32)) * tf.constant(scale, tf.float32)


@op("Normalizer", domain=ML)
def normalizer(x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Each row over its norm, which for MAX is its greatest element, sign and all; a row whose norm is zero stays."""
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
    """One value (NaN is one) replaced by another, one for all columns or one a column."""
    if x.dtype.is_floating:
        given, replaced = imputed_value_floats, replaced_value_float
    else:
        given, replaced = imputed_value_int64s, replaced_value_int64
    missing = tf.math.is_nan(x) if np.isnan(replaced) else tf.equal(x, tf.cast(replaced, x.dtype))
    return tf.where(missing, tf.constant(given, x.dtype), x)


@op("FeatureVectorizer", domain=ML)
def feature_vectorizer(*tensors: Tensor, inputdimensions: Sequence[int]) -> Tensor:
    """The inputs side by side, float32 [N, sum of inputdimensions]; each is cut, or filled with zeros, to its width."""
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
    """float32 [..., categories]. An unknown category is all zeros, or, with zeros=0, an error when the model runs."""
    keys = _strings(cats_strings) if cats_strings else np.asarray(cats_int64s, np.int64)
    index, found = _places(x if x.dtype == tf.string else tf.cast(x, tf.int64), keys)
    if not zeros:
        with tf.control_dependencies([tf.debugging.assert_equal(found, True, "OneHotEncoder: an unknown category")]):
            index = tf.identity(index)
    return tf.one_hot(tf.where(found, index, -1), len(keys))


@op("CategoryMapper", domain=ML)
def category_mapper(
    x: Tensor, *, cats_int64s: Sequence[int], cats_strings: Sequence[str], default_int64: int = -1,
    default_string: str = "_Unused",
) -> Tensor:  # fmt: skip
    """Strings to int64 or back."""
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
    """values[i] where x is keys[i], else the default. In version 1, classes_strings and their indices map both ways."""
    if classes_strings is not None:
        places = list(range(len(classes_strings)))
        return category_mapper(
            x, cats_int64s=places, cats_strings=classes_strings, default_int64=default_int64,
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
    """The one of these attributes that is given."""
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
    """values[i] where x is keys[i], else the default."""
    index, found = _places(x, keys)
    return tf.where(found, tf.gather(tf.constant(values), index), tf.constant(default, tf.constant(values[:1]).dtype))


def _places(x: Tensor, keys: Array) -> tuple[Tensor, Tensor]:
    """For each element of x the index of the first key that equals it (NaN equals NaN), and whether there is one.

    A binary search; strings are searched by a hash, and compared in full where it is found.
    """
    marks = _marks(keys)
    order = np.argsort(marks, kind="stable")
    sought = tf.reshape(_hashed(x) if x.dtype == tf.string else tf.cast(x, marks.dtype), [-1])
    at = tf.minimum(tf.searchsorted(tf.constant(marks[order]), sought), len(keys) - 1)
    index = tf.reshape(tf.gather(tf.constant(order, tf.int32), at), tf.shape(x))
    found = tf.equal(tf.gather(tf.constant(keys), index), x)
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        index = tf.where(tf.math.is_nan(x), int(np.isnan(keys).argmax()), index)
        found = tf.logical_or(found, tf.math.is_nan(x))
    return index, found


def _hashed(texts: Any) -> Tensor:
    return tf.strings.to_hash_bucket_fast(texts, (1 << 63) - 1)


def _marks(keys: Array) -> Array:
    """Numbers to search the keys by.

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
