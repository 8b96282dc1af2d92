"""Sizes of 0 for TensorFlow's kernels that do not take them."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from bundler.converters.native.tensors import Tensor


def at_least_one(x: Tensor, axes: Collection[int]) -> Tensor:
    """Put one element, a zero, into each of these axes that has none. Where all have some, tf.pad returns x without a copy."""
    unknown = [axis % x.shape.rank for axis in axes if not x.shape[axis]]
    return _extended(x, {axis: 1 - tf.shape(x)[axis] for axis in unknown})


def reducible(x: Tensor, axis: int) -> Tensor:
    """Put one element into an empty axis that is about to be reduced to nothing, since another axis is empty too.

    TensorFlow refuses to look for the maximum of an empty axis. It has to do so only if there is a result.
    """
    if x.shape[axis]:
        return x
    others = tf.reduce_prod([n for a, n in enumerate(tf.unstack(tf.shape(x))) if a != axis] or [1])
    return _extended(x, {axis: 1 - tf.maximum(tf.shape(x)[axis], others)})


def _extended(x: Tensor, missing: dict[int, Tensor]) -> Tensor:
    if not missing:
        return x
    sizes = [None if axis in missing else size for axis, size in enumerate(x.shape)]
    pads = [[0, tf.maximum(missing[axis], 0) if axis in missing else 0] for axis in range(x.shape.rank)]
    return tf.ensure_shape(tf.pad(x, pads), sizes)


def cut(x: Tensor, sizes: Tensor) -> Tensor:
    """Return the first elements of x along each axis, as many as `sizes` says: what `at_least_one` has added is taken off."""
    return tf.slice(x, tf.zeros_like(sizes), sizes)
