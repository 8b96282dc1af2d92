"""Weights: which constants become variables, shared by content."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.weights import WeightStore, _scope_name

LARGE = np.ones((128, 128), np.float32)


def test_equal_weights_are_one_variable() -> None:
    store = WeightStore()
    first, second = store.tensor(LARGE, "layer.weight"), store.tensor(LARGE.copy(), "other")
    assert [variable.name for variable in store.variables] == ["layer.weight:0"]
    np.testing.assert_array_equal(first, second)
    store.tensor(LARGE.reshape(-1))
    store.tensor(LARGE.astype(np.float64))
    assert len(store.variables) == 3


@pytest.mark.parametrize("array", [np.ones(8, np.float32), np.zeros((128, 128), np.int32), np.array(["a" * 1000] * 1000)])
def test_small_constants_integers_and_text_stay_in_the_graph(array: np.ndarray) -> None:  # type: ignore[type-arg]
    store = WeightStore()
    assert store.tensor(array).shape == array.shape
    assert store.variables == []


def test_large_integers_are_variables() -> None:
    store = WeightStore()
    assert store.tensor(np.zeros(1 << 18, np.int32)).dtype == tf.int32
    assert len(store.variables) == 1


def test_graphs_that_are_run_once_have_no_variables() -> None:
    store = WeightStore(constants_only=True)
    np.testing.assert_array_equal(store.tensor(LARGE), LARGE)
    assert store.variables == []


@pytest.mark.parametrize(("name", "valid"), [("conv.weight", "conv.weight"), ("_x:0", "x_0"), ("", "weight"), ("été", "t_")])
def test_variables_have_names_that_tensorflow_accepts(name: str, valid: str) -> None:
    assert _scope_name(name) == valid
