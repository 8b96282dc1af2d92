"""Operators over a tensor whose rank is known only at run time: after a Reshape to a computed target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from onnx import helper

from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of, native

_SHAPES = ((2, 3, 4), (24,), (4, 6))

CASES: dict[str, tuple[str, dict[str, Array], dict[str, Any]]] = {
    "softmax": ("Softmax u", {}, {"axis": -1}),
    "sum": ("ReduceSum u,a", {"a": np.array([-1])}, {"keepdims": 0}),
    "sum of all": ("ReduceSum u", {}, {"keepdims": 1}),
    "flatten": ("Flatten u", {}, {}),
    "reversed axes": ("Transpose u", {}, {}),
    "unsqueeze": ("Unsqueeze u,a", {"a": np.array([-1])}, {}),
    "gather": ("Gather u,i", {"i": np.array([1, 0])}, {"axis": -1}),
    "argmax": ("ArgMax u", {}, {"axis": -1}),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", CASES)
def test_every_rank_agrees_with_onnx_runtime(name: str) -> None:
    text, constants, attributes = CASES[name]
    op_type, inputs = text.split(" ")
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["u"]), helper.make_node(op_type, inputs.split(","), ["y"], **attributes)
    ]  # fmt: skip
    feeds = [{"x": array(24), "shape": np.array(shape)} for shape in _SHAPES]
    model = model_of(nodes, feeds[0], ["y"], constants, dynamic={"x": ["n"], "shape": ["k"]})
    assert_agrees(model, *feeds)


def test_several_outputs_and_two_unranked_operands_agree_with_onnx_runtime() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["u"]),
        helper.make_node("Neg", ["u"], ["v"]),
        helper.make_node("TopK", ["u", "k"], ["y", "i"]),
        helper.make_node("Concat", ["u", "v"], ["z"], axis=-1),
    ]
    feeds = [{"x": array(24), "shape": np.array(shape)} for shape in _SHAPES]
    model = model_of(nodes, feeds[0], ["y", "i", "z"], {"k": np.array([2])}, dynamic={"x": ["n"], "shape": ["k"]})
    assert_agrees(model, *feeds)


def test_the_only_possible_rank_is_taken_for_granted_and_another_one_fails() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["u"]),
        helper.make_node("Transpose", ["u"], ["y"], perm=[0, 2, 1]),
    ]
    feed = {"x": array(24), "shape": np.array([2, 3, 4])}
    model = model_of(nodes, feed, ["y"], dynamic={"x": ["n"], "shape": ["k"]})
    converted = assert_agrees(model, feed)
    with pytest.raises(tf.errors.InvalidArgumentError):
        converted(x=array(24), shape=np.array([4, 6]))


def test_a_rank_that_the_operator_does_not_take_fails_at_run_time() -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["u"]), helper.make_node("MatMul", ["u", "w"], ["y"])]
    feed = {"x": array(24), "shape": np.array([6, 4])}
    converted = native(model_of(nodes, feed, ["y"], {"w": array(4, 5)}, dynamic={"x": ["n"], "shape": ["k"]}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="takes no tensor with 0 dims"):
        converted(x=array(1), shape=np.array([], np.int64))
