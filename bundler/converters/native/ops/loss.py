"""Losses, which a served model rarely has.

https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html,
https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor


@op("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    log_probabilities: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Lower NegativeLogLikelihoodLoss of log_probabilities [N, C, d…], target [N, d…] and weight [C].

    Returns [N, d…], or a scalar, by `reduction`.
    """
    rank = log_probabilities.shape.rank
    rows = tf.transpose(log_probabilities, [0, *range(2, rank), 1])
    ignored = None if ignore_index is None else tf.equal(target, tf.cast(ignore_index, target.dtype))
    labels = target if ignored is None else tf.where(ignored, tf.zeros([], target.dtype), target)
    unweighted = -tf.gather(rows, labels, batch_dims=rank - 1)
    weights = tf.ones_like(unweighted) if weight is None else tf.gather(weight, labels)
    if ignored is not None:
        weights = tf.where(ignored, tf.zeros([], weights.dtype), weights)
    losses = unweighted * weights
    if reduction == "none":
        return losses
    if reduction == "sum":
        return tf.reduce_sum(losses)
    return tf.reduce_sum(losses) / tf.reduce_sum(weights)


@op("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    scores: Tensor, labels: Tensor, weights: Tensor | None = None, *, ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Lower SoftmaxCrossEntropyLoss: the loss and the log probabilities [N, C, d…]."""
    log_probabilities = tf.nn.log_softmax(scores, 1)
    loss = negative_log_likelihood(
        log_probabilities, labels, weights, ignore_index=ignore_index, reduction=reduction
    )
    return loss, log_probabilities
