"""Operators with several forms: each form is used where it should be, and all agree with ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bundler.saved_model.summarize import summarize
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of, native

node = helper.make_node


def ops_of(model: onnx.ModelProto, *inputs: dict[str, Array]) -> Counter[str]:
    """Compare a model with ONNX Runtime and count TensorFlow's operators in its function."""
    graph = assert_agrees(model, *inputs)._functions["serving_default"].graph
    return Counter(operation.type for operation in graph.get_operations())


@pytest.mark.parametrize(("size", "form"), [(28, "MatMul"), (33, "Conv2D")])
def test_a_pointwise_convolution_is_a_product_on_small_images(size: int, form: str) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["h"], kernel_shape=[1, 1]), node("Relu", ["h"], ["y"])]
    inputs = {"x": array(2, 4, size, size)}
    model = model_of(nodes, inputs, ["y"], {"w": array(5, 4, 1, 1, seed=1), "b": array(5, seed=2)})
    ops = ops_of(model, inputs, {"x": array(3, 4, size, size)})
    assert [ops["MatMul"], ops["Conv2D"]] == [form == "MatMul", form == "Conv2D"]


def test_a_pointwise_head_gives_channels_first_without_a_transpose() -> None:
    nodes = [
        node("Conv", ["x", "k"], ["h"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", ["h", "w", "b"], ["y"], kernel_shape=[1, 1]),
    ]
    inputs = {"x": array(2, 3, 40, 40)}
    constants = {"k": array(8, 3, 3, 3, seed=1), "w": array(2, 8, 1, 1, seed=2), "b": array(2, seed=3)}
    ops = ops_of(model_of(nodes, inputs, ["y"], constants), inputs)
    assert ops["Transpose"] == 1, "of the input"
    assert ops["BatchMatMulV2"] == 1


def test_a_pointwise_convolution_with_two_readers_is_computed_once() -> None:
    nodes = [
        node("Conv", ["x", "k"], ["h"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", ["h", "w"], ["y"], kernel_shape=[1, 1]),
        node("Conv", ["y", "k2"], ["z"], kernel_shape=[3, 3]),
    ]
    inputs = {"x": array(2, 3, 12, 12)}
    constants = {"k": array(8, 3, 3, 3, seed=1), "w": array(4, 8, 1, 1, seed=2), "k2": array(2, 4, 3, 3, seed=3)}
    ops = ops_of(model_of(nodes, inputs, ["y", "z"], constants), inputs)
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
def test_a_convolution_of_a_concatenation_of_large_images_is_split(size: int, also_read: bool, convolutions: int) -> None:
    inputs = {"a": array(3, 3, size, size), "b": array(3, 5, size, size, seed=4)}
    ops = ops_of(concatenated(size, also_read=also_read), inputs)
    assert ops["Conv2D"] == convolutions


def test_a_concatenation_with_two_readers_is_made_once() -> None:
    inputs = {"a": array(1, 3, 64, 64), "b": array(1, 5, 64, 64, seed=4)}
    assert ops_of(concatenated(64, also_read=True), inputs)["Conv2D"] == 1


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
    inputs = {"x": array(2, 4, size, size)}
    constants = {"w": array(4, 3, kernel, kernel, seed=1), "b": array(3 * attributes.get("group", 1), seed=2)}
    model = model_of([node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)], inputs, ["y"], constants)
    ops = ops_of(model, inputs)
    assert (ops["DepthToSpace"] == 1) is blocks
    assert (ops["Conv2DBackpropInput"] == 0) is blocks


def test_only_sums_of_equal_sizes_become_add_n() -> None:
    nodes = [node("Relu", ["x"], ["h"]), node("Add", ["x", "h"], ["s"]), node("Add", ["s", "row"], ["y"])]
    inputs = {"x": array(2, 4, 5), "row": array(2, 1, 5)}
    ops = ops_of(model_of(nodes, inputs, ["y"], opset=18), inputs, {"x": array(3, 4, 5), "row": array(3, 1, 5)})
    assert [ops["AddN"], ops["AddV2"]] == [1, 1]


def test_integer_sums_do_not_become_add_n() -> None:
    inputs = {"x": np.arange(6, dtype=np.int64).reshape(2, 3), "z": np.ones((2, 3), np.int64)}
    assert ops_of(model_of([node("Add", ["x", "z"], ["y"])], inputs, ["y"]), inputs)["AddN"] == 0


def layer(x: str, y: str, epsilon: float = 1e-12) -> list[onnx.NodeProto]:
    """Return part of a transformer: Linear, Gelu, a scale by channel, a sum with x and a LayerNormalization."""
    return [
        node("MatMul", [x, "w"], ["p"]), node("Add", ["p", "b"], ["l"]), node("Gelu", ["l"], ["g"]),
        node("Mul", ["g", "gamma"], ["s"]), node("Add", [x, "s"], ["r"]),
        node("LayerNormalization", ["r", "scale", "bias"], [y], epsilon=epsilon),
    ]  # fmt: skip


def layer_constants(width: int) -> dict[str, Array]:
    names = ("b", "gamma", "scale", "bias")
    vectors = {name: array(width, seed=i) for i, name in enumerate(names)}
    return {"w": array(width, width, seed=9) / np.sqrt(width).astype(np.float32), **vectors}


@pytest.mark.parametrize("shape", [(2, 5, 24), (2, 3, 4, 24), (6, 24)], ids=["tokens", "image", "rows"])
def test_elementwise_operators_after_a_product_work_on_its_rows(shape: tuple[int, ...]) -> None:
    inputs = {"x": array(*shape)}
    ops = ops_of(model_of(layer("x", "y"), inputs, ["y"], layer_constants(24), opset=20), inputs)
    assert ops["Reshape"] <= 2, "into rows and out of them"


@pytest.mark.parametrize(("tokens", "differences"), [(500, 1), (400, 0)], ids=["many elements", "few elements"])
def test_layer_normalization_of_many_elements_uses_one_kernel(tokens: int, differences: int) -> None:
    inputs = {"x": array(1, tokens, 240)}
    ops = ops_of(model_of(layer("x", "y", epsilon=1e-6), inputs, ["y"], layer_constants(240), opset=20), inputs)
    assert ops["SquaredDifference"] == differences


@pytest.mark.parametrize("epsilon", [2e-9, 1e-6, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("spread", [1e-3, 0.05, 10.0])
def test_layer_normalization_by_one_kernel_respects_epsilon(epsilon: float, spread: float) -> None:
    """TensorFlow's kernel has a fixed epsilon."""
    inputs = {"x": (array(1, 500, 240) * spread + 2 * spread).astype(np.float32)}
    constants = {"scale": array(240, seed=1), "bias": array(240, seed=2)}
    nodes = [node("Relu", ["x"], ["r"]), node("LayerNormalization", ["r", "scale", "bias"], ["y"], epsilon=epsilon)]
    ops = ops_of(model_of(nodes, inputs, ["y"], constants, opset=20), inputs)
    assert ops["SquaredDifference"] == 1


def test_a_broadcast_to_more_columns_does_not_work_on_rows() -> None:
    """[batch, 4, 1] + [6] has more columns than the product before it."""
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "wide"], ["y"])]
    inputs = {"x": array(2, 4, 3)}
    ops_of(model_of(nodes, inputs, ["y"], {"w": array(3, 1), "wide": array(6)}), inputs)


def attention() -> list[onnx.NodeProto]:
    """Return attention over q, k and v [batch, seq, 24] in 4 heads of 6, as PyTorch exports it."""
    nodes = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [node("Reshape", [name, "heads"], [f"{name}h"]), node("Transpose", [f"{name}h"], [f"{name}t"], perm=perm)]
    return [
        *nodes, node("MatMul", ["qt", "kt"], ["scores"]), node("Softmax", ["scores"], ["p"], axis=-1),
        node("MatMul", ["p", "vt"], ["o"]), node("Transpose", ["o"], ["ot"], perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "flat"], ["y"]),
    ]  # fmt: skip


def test_heads_are_moved_without_a_transpose() -> None:
    inputs = {name: array(2, 5, 24, seed=i) for i, name in enumerate("qkv")}
    constants = {"heads": np.array([0, 0, 4, 6], np.int64), "flat": np.array([0, 0, 24], np.int64)}
    dims = {name: ["batch", "seq", 24] for name in "qkv"}
    longer = {name: array(3, 7, 24, seed=i) for i, name in enumerate("qkv")}
    ops = ops_of(model_of(attention(), inputs, ["y"], constants, dynamic=dims), inputs, longer)
    assert [ops["Transpose"], ops["Einsum"], ops["BatchMatMulV2"]] == [0, 4, 2]


def test_a_move_by_einsum_counts_as_a_transpose(tmp_path: Path) -> None:
    inputs = {name: array(2, 5, 24, seed=i) for i, name in enumerate("qkv")}
    constants = {"heads": np.array([0, 0, 4, 6], np.int64), "flat": np.array([0, 0, 24], np.int64)}
    native(model_of(attention(), inputs, ["y"], constants)).save(tmp_path)
    assert summarize(tmp_path).transposes == 4
