"""Operators with several forms: each is taken where it should be, and all answer as ONNX Runtime does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of

node = helper.make_node


def ops_of(model: onnx.ModelProto, *inputs: dict[str, Array]) -> Counter[str]:
    """TensorFlow's operators in the function of a model that agrees with ONNX Runtime."""
    graph = assert_agrees(model, *inputs)._functions["serving_default"].graph
    return Counter(operation.type for operation in graph.get_operations())


@pytest.mark.parametrize(("size", "form"), [(28, "MatMul"), (33, "Conv2D")])
def test_a_pointwise_convolution_is_a_product_on_small_images(size: int, form: str) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["h"], kernel_shape=[1, 1]), node("Relu", ["h"], ["y"])]
    given = {"x": array(2, 4, size, size)}
    model = model_of(nodes, given, ["y"], {"w": array(5, 4, 1, 1, seed=1), "b": array(5, seed=2)})
    ops = ops_of(model, given, {"x": array(3, 4, size, size)})
    assert [ops["MatMul"], ops["Conv2D"]] == [form == "MatMul", form == "Conv2D"]


def test_a_pointwise_head_gives_channels_first_without_a_transpose() -> None:
    nodes = [
        node("Conv", ["x", "k"], ["h"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", ["h", "w", "b"], ["y"], kernel_shape=[1, 1]),
    ]
    given = {"x": array(2, 3, 40, 40)}
    constants = {"k": array(8, 3, 3, 3, seed=1), "w": array(2, 8, 1, 1, seed=2), "b": array(2, seed=3)}
    ops = ops_of(model_of(nodes, given, ["y"], constants), given)
    assert ops["Transpose"] == 1, "of the input"
    assert ops["BatchMatMulV2"] == 1


def test_a_pointwise_convolution_with_two_readers_is_computed_once() -> None:
    nodes = [
        node("Conv", ["x", "k"], ["h"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", ["h", "w"], ["y"], kernel_shape=[1, 1]),
        node("Conv", ["y", "k2"], ["z"], kernel_shape=[3, 3]),
    ]
    given = {"x": array(2, 3, 12, 12)}
    constants = {"k": array(8, 3, 3, 3, seed=1), "w": array(4, 8, 1, 1, seed=2), "k2": array(2, 4, 3, 3, seed=3)}
    ops = ops_of(model_of(nodes, given, ["y", "z"], constants), given)
    assert ops["MatMul"] == 1
    assert ops["BatchMatMulV2"] == 0


def concatenated(size: int, *, also_read: bool = False) -> onnx.ModelProto:
    nodes = [
        node("Relu", ["a"], ["ra"]), node("Relu", ["b"], ["rb"]), node("Concat", ["ra", "rb"], ["c"], axis=1),
        node("Conv", ["c", "w", "bias"], ["h"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), node("Relu", ["h"], ["y"]),
    ]  # fmt: skip
    inputs = {"a": array(2, 3, size, size), "b": array(2, 5, size, size, seed=4)}
    constants = {"w": array(4, 8, 3, 3, seed=1), "bias": array(4, seed=2)}
    return model_of(nodes, inputs, ["y", "c"] if also_read else ["y"], constants)


@pytest.mark.parametrize(
    ("size", "also_read", "convolutions"), [(64, False, 2), (32, False, 1)], ids=["large", "small"]
)
def test_a_convolution_of_a_concatenation(size: int, also_read: bool, convolutions: int) -> None:
    given = {"a": array(3, 3, size, size), "b": array(3, 5, size, size, seed=4)}
    ops = ops_of(concatenated(size, also_read=also_read), given)
    assert ops["Conv2D"] == convolutions


def test_a_concatenation_that_is_read_elsewhere_is_made_once() -> None:
    given = {"a": array(1, 3, 64, 64), "b": array(1, 5, 64, 64, seed=4)}
    assert ops_of(concatenated(64, also_read=True), given)["Conv2D"] == 1


TRANSPOSED: list[tuple[str, dict[str, Any], int, bool]] = [
    ("doubling, small", {"strides": [2, 2]}, 2, True),
    ("tripling", {"strides": [3, 3]}, 3, True),
    ("overlapping", {"strides": [2, 2]}, 3, False),
    ("padded", {"strides": [2, 2], "pads": [1, 0, 0, 0]}, 2, False),
    ("grouped", {"strides": [2, 2], "group": 2}, 2, False),
]


@pytest.mark.parametrize("size", [6, 33])
@pytest.mark.parametrize(("attributes", "kernel", "blocks"), [c[1:] for c in TRANSPOSED], ids=[c[0] for c in TRANSPOSED])
def test_a_transposed_convolution_without_overlap_is_a_product(
    attributes: dict[str, Any], kernel: int, blocks: bool, size: int
) -> None:
    given = {"x": array(2, 4, size, size)}
    constants = {"w": array(4, 3, kernel, kernel, seed=1), "b": array(3 * attributes.get("group", 1), seed=2)}
    model = model_of([node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)], given, ["y"], constants)
    ops = ops_of(model, given)
    assert (ops["DepthToSpace"] == 1) is blocks
    assert (ops["Conv2DBackpropInput"] == 0) is blocks


def test_only_sums_of_equal_sizes_are_add_n() -> None:
    nodes = [node("Relu", ["x"], ["h"]), node("Add", ["x", "h"], ["s"]), node("Add", ["s", "row"], ["y"])]
    given = {"x": array(2, 4, 5), "row": array(2, 1, 5)}
    ops = ops_of(model_of(nodes, given, ["y"], opset=18), given, {"x": array(3, 4, 5), "row": array(3, 1, 5)})
    assert [ops["AddN"], ops["AddV2"]] == [1, 1]


def test_integer_sums_are_plain() -> None:
    given = {"x": np.arange(6, dtype=np.int64).reshape(2, 3), "z": np.ones((2, 3), np.int64)}
    assert ops_of(model_of([node("Add", ["x", "z"], ["y"])], given, ["y"]), given)["AddN"] == 0
