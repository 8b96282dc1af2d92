"""Support vector machines (domain ai.onnx.ml).

https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html

A classifier decides between each pair of classes; the class with most votes wins. Scores and probabilities follow libsvm and
ONNX Runtime (onnxruntime/core/providers/cpu/ml/svmclassifier.cc).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native.ops.ml import ML
from bundler.converters.native.ops.ml_linear import as_rows, labels_of, post_transformed, two_scores
from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor
from bundler.values.arrays import Array


def _kernel(x: Tensor, vectors: Array, kind: str, params: Sequence[float] | None) -> Tensor:
    """Evaluate the kernel for x [N, C] and the vectors [V, C]; returns [N, V]."""
    gamma, coefficient, degree = params or (0.0, 0.0, 0.0)
    product = tf.matmul(x, tf.constant(vectors.T))
    if kind == "RBF":
        wide, others = tf.cast(x, tf.float64), vectors.astype(np.float64)  # the difference of nearly equal numbers follows
        squares = tf.reduce_sum(tf.square(wide), 1, keepdims=True) + (others**2).sum(1)
        distance = squares - 2.0 * tf.matmul(wide, tf.constant(others.T))
        return tf.cast(tf.exp(-gamma * distance), x.dtype)
    if kind == "POLY":
        return tf.pow(gamma * product + coefficient, degree)
    return tf.tanh(gamma * product + coefficient) if kind == "SIGMOID" else product


@op("SVMRegressor", domain=ML)
def svm_regressor(
    x: Tensor, *, coefficients: Sequence[float], kernel_params: Sequence[float] | None = None, kernel_type: str = "LINEAR",
    n_supports: int = 0, one_class: int = 0, post_transform: str = "NONE", rho: Sequence[float],
    support_vectors: Sequence[float] | None = None,
) -> Tensor:  # fmt: skip
    """Lower SVMRegressor: float32 [N, 1]; with one_class, 1 for an inlier and -1 for an outlier.

    Without support vectors (n_supports=0) the model is linear.
    """
    rows = as_rows(x)
    weights = np.asarray(coefficients, np.float32).reshape(-1, 1)
    vectors = np.asarray(support_vectors, np.float32).reshape(n_supports, -1) if n_supports else None
    features = rows if vectors is None else _kernel(rows, vectors, kernel_type, kernel_params)
    score = tf.matmul(features, tf.constant(weights)) + rho[0]
    if one_class:
        return tf.where(score > 0, tf.ones_like(score), -tf.ones_like(score))
    return post_transformed(score, post_transform)


@op("SVMClassifier", domain=ML)
def svm_classifier(
    x: Tensor, *, classlabels_ints: Sequence[int] | None = None, classlabels_strings: Sequence[str] | None = None,
    coefficients: Sequence[float], kernel_params: Sequence[float] | None = None, kernel_type: str = "LINEAR",
    post_transform: str = "NONE", prob_a: Sequence[float] | None = None, prob_b: Sequence[float] | None = None,
    rho: Sequence[float], support_vectors: Sequence[float] | None = None, vectors_per_class: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Lower SVMClassifier: labels [N] and scores.

    The scores are probabilities [N, classes] if there are prob_a and prob_b, otherwise [N, 2] for two classes, or the
    decisions [N, pairs of classes].
    """
    if not support_vectors or not vectors_per_class:
        raise ValueError("it has no support vectors; express a linear classifier as LinearClassifier")
    count = len(vectors_per_class)
    vectors = np.asarray(support_vectors, np.float32).reshape(sum(vectors_per_class), -1)
    kernel = _kernel(as_rows(x), vectors, kernel_type, kernel_params)
    weights = tf.constant(_pair_weights(coefficients, vectors_per_class))
    decisions = tf.matmul(kernel, weights) + tf.constant(rho, tf.float32)
    winner = tf.argmax(_votes(decisions, count), 1)
    labels = labels_of(winner, classlabels_ints, classlabels_strings)
    if prob_a and prob_b:
        return labels, post_transformed(_probabilities(decisions, prob_a, prob_b, count), post_transform)
    if count > 2:
        return labels, post_transformed(decisions, post_transform)
    return labels, two_scores(decisions, post_transform, centred=post_transform == "NONE")


def _pairs(count: int) -> list[tuple[int, int]]:
    """Return the two classes of each decision."""
    return list(itertools.combinations(range(count), 2))


def _pair_weights(coefficients: Sequence[float], sizes: Sequence[int]) -> Array:
    """Return the weights [V, pairs] of the vectors in each decision.

    The coefficients are [classes - 1, V]; in the decision i against j, row j - 1 is for i's vectors and row i for j's.
    """
    table = np.asarray(coefficients, np.float32).reshape(len(sizes) - 1, -1)
    ends = np.cumsum(sizes)
    weights = np.zeros((table.shape[1], len(_pairs(len(sizes)))), np.float32)
    for pair, (i, j) in enumerate(_pairs(len(sizes))):
        for row, owner in ((j - 1, i), (i, j)):
            vectors = slice(ends[owner] - sizes[owner], ends[owner])
            weights[vectors, pair] = table[row, vectors]
    return weights


def _votes(decisions: Tensor, count: int) -> Tensor:
    """Return how many decisions each class wins, [N, classes]; a decision above zero is for the first of its pair."""
    first = tf.cast(decisions > 0, tf.float32)
    return tf.matmul(first, _members(count, 0)) + tf.matmul(1.0 - first, _members(count, 1))


def _members(count: int, side: int) -> Tensor:
    """Return [pairs, classes]: 1 where the class is the first (side 0) or the second (side 1) of a pair."""
    return tf.one_hot([pair[side] for pair in _pairs(count)], count)


_LOWEST = 1e-7
"""libsvm's lower bound of a pair's probability; the upper bound is 1 minus this."""


def _probabilities(decisions: Tensor, prob_a: Sequence[float], prob_b: Sequence[float], count: int) -> Tensor:
    """Apply Platt's sigmoid to each decision and couple them as libsvm does (Wu, Lin, Weng 2004, method two)."""
    fitted = tf.sigmoid(-(decisions * tf.constant(prob_a, tf.float32) + tf.constant(prob_b, tf.float32)))
    first = tf.clip_by_value(fitted, _LOWEST, 1.0 - _LOWEST)
    size = tf.shape(first)[0]
    sides = tf.stack([first, 1.0 - first], 2)
    entries = [[i * count + j, j * count + i] for i, j in _pairs(count)]
    spread = tf.one_hot(np.reshape(entries, -1), count * count)
    against = tf.reshape(tf.matmul(tf.reshape(sides, [size, 2 * len(entries)]), spread), [size, count, count])
    return _coupled(against, count)


def _coupled(against: Tensor, count: int) -> Tensor:
    """Find p [N, K] with r_ij near p_i / (p_i + p_j) for r [N, K, K]; a row that has converged no longer changes."""
    other = tf.transpose(against, [0, 2, 1])
    matrix = -other * against + tf.linalg.diag(tf.reduce_sum(tf.square(other), 2))
    start = tf.fill([tf.shape(against)[0], count], tf.constant(1.0 / count, against.dtype))

    def step(p: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        gradient = tf.linalg.matvec(matrix, p)
        value = tf.reduce_sum(p * gradient, 1, keepdims=True)
        error = tf.reduce_max(tf.abs(gradient - value), 1, keepdims=True)
        active = tf.logical_and(active, error >= 0.005 / count)
        return tf.where(active, _sweep(matrix, p, gradient, value, count), p), active

    return tf.while_loop(
        lambda _, active: tf.reduce_any(active), step, (start, tf.fill([tf.shape(start)[0], 1], True)),
        shape_invariants=(tf.TensorShape([None, count]), tf.TensorShape([None, 1])), maximum_iterations=max(100, count),
    )[0]  # fmt: skip


def _sweep(matrix: Tensor, p: Tensor, gradient: Tensor, value: Tensor, count: int) -> Tensor:
    """Set each class in turn to its best value while the others are fixed."""
    for t in range(count):
        curvature, slope = matrix[:, t, t, None], gradient[:, t, None]
        change = (value - slope) / curvature
        total = 1.0 + change
        value = (value + change * (change * curvature + 2.0 * slope)) / tf.square(total)
        gradient = (gradient + change * matrix[:, t]) / total
        p = (p + change * tf.one_hot([t], count)) / total
    return p
