"""Nodes that are computed at build time, and those that must not be."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.bundler.converters.native.oracle import array, assert_agrees, model_of, native


def test_constants_are_folded() -> None:
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("Exp", ["c"], ["d"]),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    x = array(2, 3)
    converted = assert_agrees(model_of(nodes, {"x": x}, ["y"], {"a": array(3), "b": array(3, seed=1)}), {"x": x})
    ops = {n.op for n in converted._functions["serving_default"].graph.as_graph_def().node}
    assert not {"Exp", "Mul"} & ops


def test_random_numbers_are_not_folded() -> None:
    nodes = [helper.make_node("RandomNormalLike", ["w"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])]
    model = native(model_of(nodes, {"x": array(2, 3)}, ["y"], {"w": array(3)}))
    first, second = (model(x=array(2, 3))["y"].numpy() for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_large_result_of_small_constants_is_computed_at_run_time() -> None:
    """A file of a few bytes must not fill the memory at build time."""
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["wide"]), helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]  # fmt: skip
    constants = {"one": np.ones(1, np.float32), "shape": np.array([1 << 11, 1 << 11], np.int64)}
    model = native(model_of(nodes, {"x": array(2)}, ["y"], constants))
    assert "Sum" in {n.op for n in model._functions["serving_default"].graph.as_graph_def().node}
    np.testing.assert_allclose(model(x=np.zeros(2, np.float32))["y"].numpy(), [1 << 22] * 2)
