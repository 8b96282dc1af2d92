"""Kernels with zeros between their taps: the same from constants and from computed weights."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.dilation import dilated
from bundler.converters.native.weights import WeightStore


@pytest.mark.parametrize("computed", [False, True])
def test_zeros_are_put_between_the_taps(computed: bool) -> None:
    context = Context(WeightStore(constants_only=True), 21, "serving")
    kernel = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3)
    weight = context.value(tf.constant(kernel)) if computed else context.constant(kernel)
    weight.name = "w"
    result = dilated(context, weight, [2, 3])
    expected = np.zeros((1, 1, 3, 7), np.float32)
    expected[:, :, ::2, ::3] = kernel
    assert result.is_constant is not computed
    assert result.name == "w"
    np.testing.assert_array_equal(result.tensor, expected)
