"""Shape arithmetic with dynamic sizes, and what it leaves in the graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from onnx import helper

from bundler.converters.native.dims import Dim, add, divide, full_shape, multiply, product, subtract, tensor_shape
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of


def dim(name: str, size: int) -> Dim:
    return Dim(name, lambda: tf.constant(size, tf.int64))


def test_whole_numbers() -> None:
    assert product([2, 3, 4]) == 24
    assert add(2, 3) == 5
    assert subtract(2, 3) == -1
    assert divide(-7, 2) == -3
    assert divide(2**60 + 1, 2) == 2**59


def test_neutral_elements_keep_the_dim() -> None:
    n = dim("n", 7)
    assert multiply(n, 1) is n
    assert multiply(1, n) is n
    assert add(0, n) is n
    assert subtract(n, 0) is n
    assert divide(n, 1) is n
    assert multiply(n, 0) == 0
    assert subtract(n, dim("n", 7)) == 0
    assert divide(n, dim("n", 7)) == 1


@pytest.mark.parametrize(("compute", "expected"), [(multiply, 21), (add, 10), (subtract, 4), (divide, 2)])
def test_dynamic_sizes(compute: object, expected: int) -> None:
    result = compute(dim("n", 7), 3)  # type: ignore[operator]
    assert isinstance(result, Dim)
    assert int(result.tensor) == expected


def test_forms_that_tensorflow_takes() -> None:
    n, m = dim("n", 7), dim("m", 5)
    assert tensor_shape([n, 3]) == [-1, 3]
    assert tensor_shape([2, 3]) == [2, 3]
    assert tensor_shape([n, m, 3]).numpy().tolist() == [7, 5, 3]
    assert full_shape([2, 3]) == [2, 3]
    assert full_shape([n, 3]).numpy().tolist() == [7, 3]


def test_a_view_by_its_own_shape_is_one_reshape() -> None:
    """Shape -> Gather -> Mul -> Concat -> Reshape, as exporters write it, with a dynamic batch."""
    weights = {
        "zero": np.array(0, np.int64), "one": np.array(1, np.int64), "first": np.array([0], np.int64),
        "rest": np.array([2, 3], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Mul", ["batch", "length"], ["both"]),
        helper.make_node("Unsqueeze", ["both", "first"], ["front"]),
        helper.make_node("Concat", ["front", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    x = array(3, 4, 6)
    model = model_of(nodes, {"x": x}, ["y"], weights)
    converted = assert_agrees(model, {"x": x}, {"x": array(5, 4, 6)})
    ops = [n.op for n in converted._functions["serving_default"].graph.as_graph_def().node]
    assert ops.count("Reshape") == 1
    assert not {"Pack", "ConcatV2", "GatherV2"} & set(ops)


def test_expand_to_a_dynamic_batch() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
        helper.make_node("Concat", ["shape", "tail"], ["target"], axis=0),
        helper.make_node("Expand", ["token", "target"], ["y"]),
    ]
    x = array(3, 4)
    weights = {"tail": np.array([1, 5], np.int64), "token": array(1, 1, 5)}
    assert_agrees(model_of(nodes, {"x": x}, ["y"], weights), {"x": x}, {"x": array(7, 4)})


def test_a_range_over_a_dynamic_length() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=1, end=2),
        helper.make_node("Squeeze", ["shape"], ["length"]),
        helper.make_node("Range", ["zero", "length", "one"], ["y"]),
    ]
    weights = {"zero": np.array(0, np.int64), "one": np.array(1, np.int64)}
    model = model_of(nodes, {"x": array(2, 6)}, ["y"], weights, dynamic={"x": ["batch", "length"]})
    assert_agrees(model, {"x": array(2, 6)}, {"x": array(1, 9)})


def test_the_rest_of_a_reshape_is_what_the_graph_states() -> None:
    """The target's length comes from another input, so that only the graph says that -1 are the heads."""
    x, other = array(2, 5, 32), array(2, 5)
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], start=0, end=1),
        helper.make_node("Shape", ["other"], ["length"], start=1, end=2),
        helper.make_node("Concat", ["batch", "length", "rest", "width"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"rest": np.array([-1], np.int64), "width": np.array([8], np.int64)}
    dynamic = {"x": ["batch", "length", 32], "other": ["batch", "other_length"]}
    model = model_of(nodes, {"x": x, "other": other}, ["y"], constants, dynamic=dynamic)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["batch", "length", 4, 8]))
    converted = assert_agrees(model, {"x": x, "other": other})
    assert converted._functions["serving_default"].structured_outputs["y"].shape.as_list() == [None, None, 4, 8]
