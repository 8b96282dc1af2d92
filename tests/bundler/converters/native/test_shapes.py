"""Shape arithmetic with dynamic sizes, and the operations that remain in the graph."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.bundler.converters.native.oracle import array, assert_agrees, model_of


def test_a_view_computed_from_its_own_shape_is_one_reshape() -> None:
    """Exporters write Shape -> Gather -> Mul -> Concat -> Reshape; the batch is dynamic."""
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


def test_an_unknown_size_of_a_reshape_is_taken_from_the_graph() -> None:
    """The length in the target comes from another input, so only the graph tells that -1 stands for the heads."""
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
