"""Linear models (domain ai.onnx.ml), and how a classifier's scores become its outputs.

https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html

ONNX does not define the outputs of a classifier with two labels and one score. Exporters rely on ONNX Runtime's rules
(onnxruntime/core/providers/cpu/ml/ml_common.h).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native.ops.ml import ML
from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor

_TINY = 1e-7
"""SOFTMAX_ZERO takes a score this close to zero for zero."""


def post_transformed(scores: Tensor, transform: str) -> Tensor:
    """Transform scores [N, K] by NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO or PROBIT; a single score by PROBIT only."""
    if scores.shape[-1] == 1 and transform != "PROBIT":
        return scores
    if transform == "LOGISTIC":
        return tf.sigmoid(scores)
    if transform == "SOFTMAX":
        return tf.nn.softmax(scores, -1)
    if transform == "SOFTMAX_ZERO":
        powers = tf.exp(scores - tf.reduce_max(scores, -1, keepdims=True))
        nonzero = tf.where(tf.abs(scores) > _TINY, powers, tf.zeros_like(powers))
        return tf.math.divide_no_nan(nonzero, tf.reduce_sum(nonzero, -1, keepdims=True))
    if transform == "PROBIT":
        return tf.cast(np.sqrt(2.0), scores.dtype) * tf.math.erfinv(2.0 * scores - 1.0)
    return scores


def two_scores(score: Tensor, transform: str, *, centred: bool = False) -> Tensor:
    """Return the scores [N, 2] of the negative and the positive label.

    Args:
        score: the score [N, 1] of the positive label.
        transform: the node's post_transform.
        centred: whether the score is a distance from zero; otherwise it is a share of one.

    Raises:
        ValueError: the transform is not defined for one score.
    """
    if transform == "LOGISTIC":
        return tf.sigmoid(tf.concat([-score, score], 1))
    if transform == "PROBIT":
        raise ValueError("its post_transform PROBIT is not defined for one score")
    return tf.concat([-score if centred else 1.0 - score, score], 1)


def labels_of(index: Tensor, integers: Sequence[int] | None, strings: Sequence[str] | None) -> Tensor:
    """Return the labels of class indices."""
    return tf.gather(tf.constant(list(strings)) if strings else tf.constant(integers, tf.int64), index)


def as_rows(x: Tensor, dtype: tf.DType = tf.float32) -> Tensor:
    """Return x as [N, C]; a vector is one row."""
    return tf.cast(x if x.shape.rank == 2 else tf.reshape(x, [1, -1]), dtype)


@op("LinearRegressor", domain=ML)
def linear_regressor(
    x: Tensor, *, coefficients: Sequence[float], intercepts: Sequence[float] | None = None, post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:  # fmt: skip
    """Lower LinearRegressor: x @ coefficients + intercepts, transformed."""
    return post_transformed(_linear(x, coefficients, intercepts, targets), post_transform)


def _linear(x: Tensor, coefficients: Sequence[float], intercepts: Sequence[float] | None, rows: int) -> Tensor:
    weights = np.asarray(coefficients, np.float32).reshape(rows, -1).T
    product = tf.matmul(as_rows(x), tf.constant(weights))
    return product if intercepts is None else product + tf.constant(intercepts, tf.float32)


@op("LinearClassifier", domain=ML)
def linear_classifier(
    x: Tensor, *, classlabels_ints: Sequence[int] | None = None, classlabels_strings: Sequence[str] | None = None,
    coefficients: Sequence[float], intercepts: Sequence[float] | None = None, multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Lower LinearClassifier: labels [N] and scores [N, classes]."""
    count = len(classlabels_strings or classlabels_ints or ())
    rows = len(intercepts) if intercepts is not None else count
    scores = _linear(x, coefficients, intercepts, rows)
    winner = tf.argmax(scores, 1) if rows > 1 else tf.cast(scores[:, 0] > 0, tf.int64)
    shown = post_transformed(scores, post_transform) if rows > 1 else two_scores(scores, post_transform)
    return labels_of(winner, classlabels_ints, classlabels_strings), shown
