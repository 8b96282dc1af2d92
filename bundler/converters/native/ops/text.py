"""Strings.

https://onnx.ai/onnx/operators/onnx__StringNormalizer.html, https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


@op("StringConcat", layout=AxisPolicy.ELEMENTWISE)
def string_concat(x: Tensor, y: Tensor) -> Tensor:
    """Lower StringConcat: each string of x followed by that of y, with broadcasting."""
    return tf.strings.join([tf.broadcast_to(x, tf.broadcast_dynamic_shape(tf.shape(x), tf.shape(y))), y + tf.zeros_like(x)])


@op("RegexFullMatch", layout=AxisPolicy.ELEMENTWISE)
def regex_full_match(x: Tensor, *, pattern: str) -> Tensor:
    """Lower RegexFullMatch; both ONNX and TensorFlow use RE2."""
    return tf.strings.regex_full_match(x, pattern)


@op("StringSplit")
def string_split(x: Tensor, *, delimiter: str | None = None, maxsplit: int | None = None) -> tuple[Tensor, Tensor]:
    """Lower StringSplit: the parts, padded with empty strings to the longest row, and their number.

    Without a delimiter, strings are split at runs of blanks.
    """
    limit = -1 if maxsplit is None else maxsplit
    flat = tf.reshape(x, [-1])
    ragged = tf.strings.split(flat, delimiter or None, limit)
    if not delimiter:  # with a limit, TensorFlow's split at blanks ends with an empty part
        ragged = tf.ragged.boolean_mask(ragged, tf.not_equal(ragged, ""))
    counts = ragged.row_lengths()
    parts = ragged.to_tensor("")
    shape = tf.shape(x)
    return tf.reshape(parts, tf.concat([shape, [tf.shape(parts)[1]]], 0)), tf.reshape(counts, shape)


@op("StringNormalizer", layout=AxisPolicy.VALUES)
def string_normalizer(
    ctx: Context, x: Value, *, case_change_action: str = "NONE", is_case_sensitive: int = 0, locale: str = "en_US",
    stopwords: Sequence[str] | None = None,
) -> Value:  # fmt: skip
    """Lower StringNormalizer: x [C] or [1, C] without its stopwords; one empty string if no string remains."""
    data = x.tensor
    flat = tf.reshape(data, [-1])
    if stopwords:
        compared = flat if is_case_sensitive else _cased(flat, "LOWER")
        words = [w if is_case_sensitive else w.lower() for w in stopwords]
        stops = tf.reduce_any(tf.equal(compared[:, None], tf.constant(words)[None]), 1)
        flat = tf.boolean_mask(flat, tf.logical_not(stops))
    flat = _cased(flat, case_change_action)
    flat = tf.cond(tf.size(flat) > 0, lambda: flat, lambda: tf.constant([""]))
    return ctx.value(tf.reshape(flat, [1, -1]) if data.shape.rank == 2 else flat)


def _cased(x: Tensor, action: str) -> Tensor:
    change = {"LOWER": tf.strings.lower, "UPPER": tf.strings.upper}.get(action)
    return x if change is None else change(x, encoding="utf-8")


@op("TfIdfVectorizer")
def tf_idf_vectorizer(
    x: Tensor, *, max_gram_length: int, max_skip_count: int, min_gram_length: int, mode: str,
    ngram_counts: Sequence[int], ngram_indexes: Sequence[int], pool_int64s: Sequence[int] | None = None,
    pool_strings: Sequence[str] | None = None, weights: Sequence[float] | None = None,
) -> Tensor:  # fmt: skip
    """Lower TfIdfVectorizer: how often each n-gram of the pool occurs in x [C] or [N, C].

    Up to max_skip_count other words may stand between the words of an n-gram.
    """
    pool: list[Any] = list(pool_strings or pool_int64s or [])
    rows = x if x.shape.rank == 2 else tf.expand_dims(x, 0)
    width = max(ngram_indexes) + 1
    totals = tf.zeros([tf.shape(rows)[0], width], tf.float32)
    starts = [*ngram_counts, len(pool)]
    first = 0
    for n, (begin, end) in enumerate(itertools.pairwise(starts), start=1):
        grams = [pool[i : i + n] for i in range(begin, end, n)]
        columns = list(ngram_indexes[first : first + len(grams)])
        first += len(grams)
        if grams and min_gram_length <= n <= max_gram_length:
            counts = _occurrences(rows, grams, n, max_skip_count)
            totals += tf.matmul(counts, tf.one_hot(columns, width))
    scale = np.ones(width, np.float32)
    if weights is not None:
        scale[np.asarray(ngram_indexes)] = np.asarray(weights, np.float32)
    if mode == "TF":
        result = totals
    else:
        occurs = tf.cast(totals > 0, tf.float32)
        result = occurs * scale if mode == "IDF" else totals * scale
    return result if x.shape.rank == 2 else result[0]


def _occurrences(rows: Tensor, grams: Sequence[Sequence[Any]], n: int, max_skip: int) -> Tensor:
    """Count each n-gram over all starts and skips, [N, grams]; single words have no skips."""
    table = tf.constant(np.array(grams, dtype=object if isinstance(grams[0][0], str) else None), rows.dtype)
    total = tf.zeros([tf.shape(rows)[0], len(grams)], tf.float32)
    for skip in range(1 if n == 1 else max_skip + 1):
        step = skip + 1
        length = tf.maximum(tf.shape(rows)[1] - (n - 1) * step, 0)
        hits = tf.constant(True)
        for k in range(n):
            words = tf.slice(rows, [0, tf.minimum(k * step, tf.shape(rows)[1])], [-1, length])
            hits = tf.logical_and(hits, tf.equal(words[:, :, None], table[None, None, :, k]))
        total += tf.reduce_sum(tf.cast(hits, tf.float32), 1)
    return total
