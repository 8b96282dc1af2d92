"""Limits on what a node may request of TensorFlow and of the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.bounds import LARGEST_FOLD, fits, is_empty, window_problem
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore

STORE = WeightStore(constants_only=True)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"strides": [1, 2], "pads": [0, -1], "group": 1}, None),
        ({"strides": [1, 0]}, "its attribute strides must be above 0 and below 2147483648, got [1, 0]"),
        ({"kernel_shape": [1 << 20]}, "its attribute kernel_shape must be above 0 and below 1048576, got [1048576]"),
        ({"blocksize": -1}, "its attribute blocksize must be above 0 and below 2147483648, got -1"),
        ({"pads": [1 << 31]}, "the numbers of its attribute pads must be below 2^31, got [2147483648]"),
    ],
)
def test_windows_that_tensorflow_cannot_run(attributes: dict[str, Any], problem: str | None) -> None:
    assert window_problem(attributes) == problem


def test_only_known_empty_values_are_empty() -> None:
    assert is_empty([None, Value.constant(np.zeros((2, 0)), STORE)])
    assert not is_empty([None, Value.constant(np.zeros((2, 1)), STORE)])


def test_constants_that_are_too_large_do_not_fit() -> None:
    shape = [Value.constant(np.array([LARGEST_FOLD, 2]), STORE)]
    assert not fits(lambda operands: tf.fill(operands[0].tensor, 0.0), shape)
    assert fits(lambda operands: tf.fill(operands[0].tensor[1:], 0.0), shape)


def test_windows_over_nothing_do_not_fit() -> None:
    def fail(operands: list[Value | None]) -> None:
        raise ValueError

    assert not fits(lambda _: tf.zeros([0]), [], windows=True)
    assert not fits(fail, [], windows=True)
    assert fits(fail, [])
