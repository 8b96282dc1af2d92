"""Forms that older TensorFlow releases with oneDNN fuse wrongly are not in SavedModels, which `make compat` runs there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.elementwise import sigmoid
from bundler.converters.native.ops.normalize import instance_normalization
from bundler.converters.native.weights import WeightStore

X = np.random.default_rng(0).standard_normal((2, 6, 5, 8)).astype(np.float32)


def context(target: Any) -> Context:
    return Context(WeightStore(constants_only=True), 21, target)


def operators(function: Any) -> dict[str, Any]:
    return {op.type: op for op in function.graph.get_operations()}


@pytest.mark.parametrize("sizes", [2, [3, 5], [4, 4]], ids=str)
@pytest.mark.parametrize("axis", [3, -1])
def test_the_gate_of_a_gated_linear_unit_is_a_slice(sizes: int | list[int], axis: int) -> None:
    """TensorFlow 2.12 and 2.13 compute `b * sigmoid(b)` for `a * sigmoid(b)` if both are parts of one Split."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 6, None, 8])])
    def gates(x: Any) -> list[Any]:
        return [sigmoid(context("serving"), part) for part in tf.split(x, sizes, axis)]

    concrete = gates.get_concrete_function()
    sources = [op.inputs[0].op.type for op in concrete.graph.get_operations() if op.type == "Sigmoid"]
    assert sources == ["Slice", "Slice"]
    for got, part in zip(concrete(tf.constant(X)), np.split(X, [3 if sizes == [3, 5] else 4], axis), strict=True):
        np.testing.assert_allclose(got, 1 / (1 + np.exp(-part)), rtol=1e-5)


@pytest.mark.parametrize("target", ["serving", "tflite"])
def test_a_part_of_unknown_size_and_a_tflite_file_keep_the_split(target: str) -> None:
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 6, None, 8])])
    def gate(x: Any) -> Any:
        return sigmoid(context(target), tf.split(x, 2, 2 if target == "serving" else 3)[1])

    concrete = gate.get_concrete_function()
    assert operators(concrete)["Sigmoid"].inputs[0].op.type == "Split"


@pytest.mark.parametrize("has_weights", [False, True])
def test_instance_normalization_without_weights_has_no_squared_difference(has_weights: bool) -> None:
    """A computed scale and offset behind it would make TensorFlow 2.15 and 2.16 take all of it for one layer, and crash."""
    scale, bias = np.full(8, 1.5 if has_weights else 1, np.float32), np.zeros(8, np.float32)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 6, None, 8])])
    def normal(x: Any) -> Any:
        return instance_normalization(x, tf.constant(scale), tf.constant(bias))

    concrete = normal.get_concrete_function()
    assert ("SquaredDifference" in operators(concrete)) == has_weights
    want = (X - X.mean((1, 2), keepdims=True)) / np.sqrt(X.var((1, 2), keepdims=True) + 1e-5) * scale
    np.testing.assert_allclose(concrete(tf.constant(X)), want, rtol=1e-4, atol=1e-5)
