"""Kernels that refuse an empty axis get an element, which is taken off again."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native.zero_sizes import at_least_one, cut, reducible


def test_an_empty_axis_gets_an_element_and_loses_it() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3])])  # type: ignore[untyped-decorator]
    def there_and_back(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        filled = at_least_one(x, [0, -1])
        assert filled.shape.as_list() == [None, 3]
        return filled, cut(filled, tf.shape(x))

    filled, rest = there_and_back(np.zeros((0, 3), np.float32))
    assert (filled.shape, rest.shape) == ((1, 3), (0, 3))
    filled, rest = there_and_back(np.ones((2, 3), np.float32))
    assert (filled.shape, rest.shape) == ((2, 3), (2, 3))


def test_known_sizes_cost_nothing() -> None:
    x = tf.zeros([2, 3])
    assert at_least_one(x, [0, 1]) is x
    assert reducible(x, 1) is x


def test_only_an_axis_that_is_reduced_to_nothing_is_filled() -> None:
    assert reducible(tf.zeros([0, 0]), 1).shape == (0, 1)
    assert reducible(tf.zeros([2, 0]), 1).shape == (2, 0)
