"""Fourier transforms for TFLite, as products with matrices, equal those of TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.signal import _transform
from bundler.converters.native.weights import WeightStore

RNG = np.random.default_rng(0)


def transformed(target: str, signal: tf.Tensor, length: int | None, axis: int, *, inverse: bool, onesided: bool) -> tf.Tensor:
    context = Context(WeightStore(constants_only=True), 20, target)  # type: ignore[arg-type]
    size = None if length is None else context.constant(np.array(length, np.int64))
    return _transform(context, signal, size, axis, inverse, onesided)


KINDS = pytest.mark.parametrize(("inverse", "onesided"), [(False, False), (False, True), (True, False), (True, True)])
CASES = [(length, parts, axis) for length in (None, 6, 12) for parts in (1, 2) for axis in (1, 2)]


def signal(parts: int) -> np.ndarray:
    return RNG.standard_normal((2, 9, 8, parts)).astype(np.float32)


@KINDS
def test_products_equal_the_transform(inverse: bool, onesided: bool) -> None:
    for length, parts, axis in CASES:
        x = tf.constant(signal(parts))
        want, got = (transformed(t, x, length, axis, inverse=inverse, onesided=onesided) for t in ("serving", "tflite"))
        assert want.shape == got.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@KINDS
def test_sizes_may_be_dynamic(inverse: bool, onesided: bool) -> None:
    for length, parts, axis in CASES:

        def call(x: tf.Tensor, length: int | None = length, axis: int = axis) -> list[tf.Tensor]:
            return [transformed(t, x, length, axis, inverse=inverse, onesided=onesided) for t in ("serving", "tflite")]

        spec = tf.TensorSpec([None, None, None, parts], tf.float32)
        want, got = tf.function(call, input_signature=[spec], autograph=False)(signal(parts))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
