"""Which operators of small graphs compute in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.bfloat16 import Plan

Tensor = Any
RNG = np.random.default_rng(0)


def weight(*shape: int) -> Tensor:
    return tf.constant(RNG.standard_normal(shape), tf.float32)


def low(function: Callable[..., Tensor], *shapes: list[int | None], dtype: tf.DType = tf.float32) -> set[str]:
    """Return the types of the operators that compute in bfloat16."""
    graph = tf.function(function, autograph=False).get_concrete_function(*(tf.TensorSpec(s, dtype) for s in shapes)).graph
    names = Plan(graph).low
    return {operator.type for operator in graph.get_operations() if operator.name in names} - {"Identity"}


def test_a_convolution_takes_its_bias_sum_and_activation_along_and_a_mean_stays_in_float32() -> None:
    def network(x: Tensor) -> Tensor:
        first = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weight(3, 3, 4, 8), 1, "SAME"), weight(8)))
        second = tf.nn.bias_add(tf.nn.conv2d(tf.nn.max_pool2d(first, 2, 2, "SAME"), weight(1, 1, 8, 8), 1, "SAME"), weight(8))
        return tf.reduce_mean(tf.nn.relu(tf.add_n([second, tf.nn.max_pool2d(first, 2, 2, "SAME")])), [1, 2])

    assert low(network, [None, 8, 8, 4]) == {"Conv2D", "BiasAdd", "Relu", "MaxPool", "AddN"}


def test_attention_has_its_softmax_in_float32() -> None:
    def attention(x: Tensor) -> Tensor:
        query = tf.matmul(x, weight(16, 16))
        probabilities = tf.nn.softmax(tf.matmul(query, query, transpose_b=True))
        return tf.exp(tf.matmul(probabilities, query))

    assert low(attention, [10, 16]) == {"MatMul"}


@pytest.mark.parametrize("curve", ["gelu", "approximate", "swish"])
def test_gelu_and_swish_follow_a_product(curve: str) -> None:
    activations = {"gelu": tf.nn.gelu, "approximate": lambda x: tf.nn.gelu(x, True), "swish": lambda x: x * tf.sigmoid(x)}

    def layer(x: Tensor) -> Tensor:
        hidden = activations[curve](tf.nn.bias_add(tf.matmul(x, weight(16, 32)), weight(32)))
        return tf.matmul(hidden, weight(32, 4))

    types = low(layer, [None, 16])
    assert {"MatMul", "BiasAdd", "Mul"} <= types and types & {"Erfc", "Erf", "Tanh", "Sigmoid"}


def test_a_curve_alone_and_a_hard_swish_stay_in_float32() -> None:
    assert low(lambda x: tf.tanh(tf.matmul(x, weight(16, 4))), [None, 16]) == {"MatMul"}
    assert low(lambda x: tf.nn.relu6(tf.matmul(x, weight(16, 4)) + 3.0), [None, 16]) == {"MatMul"}


def test_positions_and_outer_products_stay_in_float32() -> None:
    def angles(x: Tensor) -> Tensor:
        return tf.matmul(tf.reshape(tf.cast(x, tf.float32), [-1, 8]), weight(8, 4))

    assert low(angles, [None], dtype=tf.int64) == set()
    assert low(lambda x: tf.matmul(x, weight(1, 4)), [None, 1]) == set()


def test_pixels_are_few_enough_for_bfloat16() -> None:
    assert low(lambda x: tf.matmul(tf.cast(x, tf.float32), weight(8, 4)), [None, 8], dtype=tf.uint8) == {"MatMul"}


def test_the_scale_of_squeeze_and_excitation_is_between_two_convolutions() -> None:
    def block(x: Tensor) -> Tensor:
        image = tf.nn.conv2d(x, weight(1, 1, 4, 8), 1, "SAME")
        scale = tf.sigmoid(tf.reduce_mean(image, [1, 2], keepdims=True))
        return tf.nn.conv2d(image * scale, weight(1, 1, 8, 4), 1, "SAME")

    assert low(block, [None, 8, 8, 4]) == {"Conv2D", "Mul"}


def test_other_types_have_no_products_in_bfloat16() -> None:
    assert low(lambda x: tf.matmul(x, tf.cast(weight(8, 4), tf.float64)), [None, 8], dtype=tf.float64) == set()
