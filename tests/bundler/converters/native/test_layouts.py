"""The same operators on values stored channels last (results of a convolution) and on inputs in ONNX's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import pytest
from onnx import helper

from bundler.converters.native.layouts import common_order, storage_axes
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of, native

C, H, W = 4, 6, 5


def int64(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


OPS: list[tuple[str, str, dict[str, Array], dict[str, Any]]] = [
    ("elementwise, scalar", "Mul", {"k": np.array(2.5, np.float32)}, {}),
    ("elementwise, by channel", "Add", {"k": array(C, 1, 1)}, {}),
    ("elementwise, by column", "Sub", {"k": array(W)}, {}),
    ("elementwise, full", "Div", {"k": np.abs(array(1, C, H, W)) + 1}, {}),
    ("slope by channel", "PRelu", {"k": array(C, 1, 1)}, {}),
    ("clip", "Clip", {"k": np.array(-0.5, np.float32), "m": np.array(0.5, np.float32)}, {}),
    ("softmax over channels", "Softmax", {}, {"axis": 1}),
    ("softmax over rows", "Softmax", {}, {"axis": 2}),
    ("softmax over columns", "Softmax", {}, {"axis": -1}),
    ("log softmax", "LogSoftmax", {}, {"axis": 1}),
    ("concat over channels", "Concat", {"k": array(1, 3, H, W)}, {"axis": 1}),
    ("concat over rows", "Concat", {"k": array(1, C, 2, W)}, {"axis": 2}),
    ("mean over the image, kept", "ReduceMean", {"k": int64(2, 3)}, {"keepdims": 1}),
    ("mean over the image", "ReduceMean", {"k": int64(2, 3)}, {"keepdims": 0}),
    ("max over channels", "ReduceMax", {"k": int64(1)}, {"keepdims": 0}),
    ("sum over all", "ReduceSum", {}, {"keepdims": 0}),
    ("argmax over channels", "ArgMax", {}, {"axis": 1, "keepdims": 0}),
    ("argmin over rows, kept", "ArgMin", {}, {"axis": 2, "keepdims": 1}),
    ("slice of channels", "Slice", {"s": int64(1), "e": int64(3), "a": int64(1)}, {}),
    ("slice backwards", "Slice", {"s": int64(-1), "e": int64(-100), "a": int64(3), "t": int64(-2)}, {}),
    ("pad of the image", "Pad", {"p": int64(0, 0, 1, 2, 0, 0, 3, 0)}, {}),
    ("pad, reflected", "Pad", {"p": int64(0, 0, 1, 2, 0, 0, 3, 0)}, {"mode": "reflect"}),
    ("pad, edge, by axes", "Pad", {"p": int64(1, 2), "z": np.array(0, np.float32), "a": int64(-1)}, {"mode": "edge"}),
    ("flatten", "Flatten", {}, {"axis": 1}),
    ("reshape into heads", "Reshape", {"s": int64(0, 2, C // 2, H, W)}, {}),
    ("reshape to tokens", "Reshape", {"s": int64(0, C, -1)}, {}),
    ("transpose to channels last", "Transpose", {}, {"perm": [0, 2, 3, 1]}),
    ("transpose, odd", "Transpose", {}, {"perm": [2, 0, 3, 1]}),
    ("unsqueeze", "Unsqueeze", {"a": int64(1, 4)}, {}),
    ("gather of channels", "Gather", {"i": int64(2, 0, -1)}, {"axis": 1}),
    ("gather of one row", "Gather", {"i": np.array(1, np.int64)}, {"axis": 2}),
    ("tile", "Tile", {"r": int64(1, 2, 1, 3)}, {}),
    ("cumulative sum", "CumSum", {"a": np.array(2, np.int64)}, {"reverse": 1}),
    ("top k of channels", "TopK", {"k": int64(2)}, {"axis": 1}),
    ("trilu", "Trilu", {}, {"upper": 0}),
    ("matrix product", "MatMul", {"k": array(W, 3)}, {}),
    ("global pool", "GlobalAveragePool", {}, {}),
    ("instance norm", "InstanceNormalization", {"g": array(C), "b": array(C, seed=2)}, {}),
    ("local response norm", "LRN", {}, {"size": 3}),
    ("layer norm over columns", "LayerNormalization", {"g": array(W), "b": array(W, seed=2)}, {"axis": -1}),
    ("lp norm", "LpNormalization", {}, {"axis": 1}),
    ("mean variance norm", "MeanVarianceNormalization", {}, {}),
    ("cubic resize", "Resize", {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 1.5, 2], np.float32)}, {"mode": "cubic"}),
    ("cubic resize of columns", "Resize", {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 1, 2], np.float32)},
     {"mode": "cubic"}),
    ("expand", "Expand", {"s": int64(2, 1, C, H, W)}, {}),
    ("depth to space", "DepthToSpace", {}, {"blocksize": 2}),
    ("where", "Where", {}, {}),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("op_type", "constants", "attributes"), [o[1:] for o in OPS], ids=[o[0] for o in OPS])
@pytest.mark.parametrize("stored", ["channels last", "as given"])
def test_results_do_not_depend_on_the_storage_order(
    op_type: str, constants: dict[str, Array], attributes: dict[str, Any], stored: str
) -> None:
    weights = {"w": array(C, 3, 1, 1, seed=9), **constants}
    x = array(1, 3 if stored == "channels last" else C, H, W)
    source = "h" if stored == "channels last" else "x"
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"])] if stored == "channels last" else []
    outputs = ["y", "places"] if op_type == "TopK" else ["y"]
    operands = [source, *constants]
    if op_type == "Where":
        nodes.append(helper.make_node("Greater", [source, "zero"], ["c"]))
        weights["zero"] = np.array(0, np.float32)
        operands = ["c", source, "zero"]
    nodes.append(helper.make_node(op_type, operands, outputs, **attributes))
    if stored == "as given":
        del weights["w"]
    model = model_of(nodes, {"x": x}, outputs, weights, dynamic={"x": list(x.shape)})
    assert_agrees(model, {"x": x})


def test_operands_of_two_orders_are_brought_into_one() -> None:
    """One is a sum of a convolution's result and an input, the other a convolution's result that two nodes read."""
    x = array(2, 3, H, W)
    weights = {"w": array(3, 3, 3, 3), "v": array(3, 3, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["h", "x"], ["s"]),
        helper.make_node("Conv", ["s", "v"], ["t"]),
        helper.make_node("Concat", ["t", "h", "x"], ["y"], axis=1),
    ]
    assert_agrees(model_of(nodes, {"x": x}, ["y"], weights), {"x": x})


def test_a_convolutional_trunk_has_one_transpose() -> None:
    """Convolutions, a residual, pools, a concat, a resize and a softmax over channels move data once, at the input."""
    weights = {
        "w1": array(8, 3, 3, 3), "w2": array(8, 8, 3, 3), "g": np.ones(8, np.float32), "b": np.zeros(8, np.float32),
        "m": np.zeros(8, np.float32), "v": np.ones(8, np.float32), "scales": np.array([1, 1, 2, 2], np.float32),
        "axes": int64(2, 3),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["p", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "p"], ["s"]),
        helper.make_node("Resize", ["s", "", "scales"], ["u"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("Concat", ["u", "r"], ["k"], axis=1),
        helper.make_node("Softmax", ["k"], ["q"], axis=1),
        helper.make_node("ReduceMean", ["q", "axes"], ["y"], keepdims=0),
    ]  # fmt: skip
    x = array(2, 3, 32, 32)
    model = model_of(nodes, {"x": x}, ["y"], weights)
    converted = assert_agrees(model, {"x": x})
    graph = converted._functions["serving_default"].graph.as_graph_def()
    assert [n.op for n in graph.node].count("Transpose") == 1
    served_last = native(model, layout="nhwc")
    graph = served_last._functions["serving_default"].graph.as_graph_def()
    assert [n.op for n in graph.node].count("Transpose") == 0
    moved = served_last(x=x.transpose(served_last.permutations["x"]))["y"].numpy()
    np.testing.assert_allclose(moved, converted(x=x)["y"].numpy(), rtol=1e-5, atol=1e-6)


def test_softmax_resize_and_fillings_stay_channels_last() -> None:
    """A softmax over rows, a cubic resize, and a sum with zeros of a dynamic shape need no transpose."""
    weights = {
        "w": array(C, 3, 1, 1), "scales": np.array([1, 1, 1.5, 2], np.float32), "zero": np.zeros(1, np.float32),
        "rows": int64(2, 3),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Softmax", ["c"], ["s"], axis=2),
        helper.make_node("Resize", ["s", "", "scales"], ["u"], mode="cubic"),
        helper.make_node("Shape", ["u"], ["n"]),
        helper.make_node("Expand", ["zero", "n"], ["z"]),
        helper.make_node("ConstantOfShape", ["n"], ["o"], value=helper.make_tensor("one", 1, [1], [1.0])),
        helper.make_node("Add", ["z", "u"], ["a"]),
        helper.make_node("Mul", ["a", "o"], ["m"]),
        helper.make_node("ReduceMean", ["m", "rows"], ["y"], keepdims=0),
    ]
    x = array(2, 3, H, W)
    converted = assert_agrees(model_of(nodes, {"x": x}, ["y"], weights), {"x": x}, {"x": np.concatenate([x, x])})
    graph = converted._functions["serving_default"].graph.as_graph_def()
    assert [n.op for n in graph.node].count("Transpose") == 1


def test_branches_weighted_by_channel_stay_channels_last() -> None:
    """Two branches are stacked, weighted by a softmax over the branches, and added up."""
    weights = {
        "w": array(C, 3, 1, 1), "v": array(C, 3, 1, 1, seed=2), "u": array(2 * C, C, 1, 1), "one": int64(1),
        "split": int64(0, 2, C, 1, 1), "image": int64(2, 3),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["x", "v"], ["b"]),
        helper.make_node("Unsqueeze", ["a", "one"], ["c"]),
        helper.make_node("Unsqueeze", ["b", "one"], ["d"]),
        helper.make_node("Concat", ["c", "d"], ["both"], axis=1),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Conv", ["p", "u"], ["q"]),
        helper.make_node("Reshape", ["q", "split"], ["r"]),
        helper.make_node("Softmax", ["r"], ["s"], axis=1),
        helper.make_node("Mul", ["both", "s"], ["m"]),
        helper.make_node("ReduceSum", ["m", "one"], ["t"], keepdims=0),
        helper.make_node("ReduceMax", ["t", "image"], ["y"], keepdims=0),
    ]
    x = array(2, 3, H, W)
    converted = assert_agrees(model_of(nodes, {"x": x}, ["y"], weights), {"x": x})
    graph = converted._functions["serving_default"].graph.as_graph_def()
    assert [n.op for n in graph.node].count("Transpose") == 1


@pytest.mark.parametrize("axes", [[0], [2], [4], [0, 1], [1, 3], [3, 4], [4, 5], [0, 5], [-1, 2]])
@pytest.mark.parametrize("stored", ["channels last", "as given"])
def test_unsqueeze_in_every_order(axes: list[int], stored: str) -> None:
    x, rank = array(2, 3, H, W), 4 + len(axes)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]) if stored == "channels last" else helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Unsqueeze", ["h", "axes"], ["u"]),
        helper.make_node("Transpose", ["u"], ["y"], perm=list(reversed(range(rank)))),
    ]
    weights = {"w": array(C, 3, 1, 1), "axes": int64(*axes)}
    if stored == "as given":
        del weights["w"]
    assert_agrees(model_of(nodes, {"x": x}, ["y"], weights), {"x": x})


def test_onnx_axes_are_mapped_to_storage_axes() -> None:
    assert storage_axes(1, (0, 2, 3, 1), 4) == 3
    assert storage_axes([-1, 1], (0, 2, 3, 1), 4) == [2, 3]
    assert storage_axes(-1, None, 3) == 2


def test_the_common_order_is_that_of_a_reordered_operand() -> None:
    import tensorflow as tf

    store = WeightStore(constants_only=True)
    last = Value.of(tf.zeros([1, 2, 2, 3]), store, (0, 2, 3, 1))
    plain = Value.of(tf.zeros([1, 3, 2, 2]), store)
    constant = Value.constant(np.zeros((1, 3, 2, 2), np.float32), store)
    assert common_order([plain, last, constant]) == (0, 2, 3, 1)
    assert common_order([plain, constant]) is None


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean"])
def test_the_axis_of_a_scalar_is_ignored(operator: str) -> None:
    text = f"scalar (float x) => (float y) <int64[1] axes = {{0}}> {{ y = {operator}<keepdims = 0>(x, axes) }}"
    model = native(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}'))
    got = model(x=np.float32(2.5))["y"].numpy()
    assert (got.dtype, got.shape, float(got)) == (np.float32, (), 2.5)
