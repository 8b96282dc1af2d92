"""Operands that many models have as constants (axes, steps, pads, weights) may be computed at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper

from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of

Feed = Mapping[str, Array]
Dims = Mapping[str, Sequence[str | int]]


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


X = array(3, 6, 5)
_ANY: Dims = {"x": ["b", "n", "m"]}
_KERNEL: Dims = {"x": ["b", "c", "h", "w"], "w": ["o", "i", "kh", "kw"]}

CASES: dict[str, tuple[str, dict[str, Any], Dims, list[Feed]]] = {
    "Squeeze without axes": ("Squeeze x", {}, _ANY, [{"x": array(2, 1, 3)}, {"x": array(1, 4, 1)}, {"x": array(1, 1, 1)}]),
    "Unsqueeze": (
        "Unsqueeze x,a", {}, {**_ANY, "a": ["k"]}, [{"x": X, "a": ints(1)}, {"x": X, "a": ints(0, -1)}, {"x": X, "a": ints()}]
    ),
    "Slice along any number of axes": (
        "Slice x,s,e", {}, {**_ANY, "s": ["k"], "e": ["k"]},
        [{"x": X, "s": ints(1), "e": ints(3)}, {"x": X, "s": ints(1, 2, 1), "e": ints(3, 5, -1)}],
    ),
    "Slice by any steps": (
        "Slice x,s,e,a,t", {}, {**_ANY, "s": ["k"], "e": ["k"], "a": ["k"], "t": ["k"]},
        [
            {"x": X, "s": ints(1), "e": ints(5), "a": ints(1), "t": ints(2)},
            {"x": X, "s": ints(4, -1), "e": ints(-(2**63) + 1, 0), "a": ints(1, -1), "t": ints(-2, -1)},
        ],
    ),
    "Range of nothing": (
        "Range s,l,d", {}, {"s": [], "l": [], "d": []},
        [{"s": np.array(s), "l": np.array(e), "d": np.array(d)} for s, e, d in ((1, 7, 2), (7, 1, -2), (7, 1, 1), (1, 7, -1))],
    ),
    "GatherND by any depth": (
        "GatherND x,i", {}, {**_ANY, "i": ["p", "q"]},
        [{"x": X, "i": np.array([[0, -1]])}, {"x": X, "i": np.array([[0, -1, 2], [1, 1, 1]])}, {"x": X, "i": np.array([[-1]])}],
    ),
    "ReduceSum over any axes": (
        "ReduceSum x,a", {"keepdims": 0}, {**_ANY, "a": ["k"]},
        [{"x": X, "a": ints(1)}, {"x": X, "a": ints(0, -1)}, {"x": X, "a": ints()}],
    ),
    "ReduceMax over any axes": (
        "ReduceMax x,a", {"keepdims": 1}, {**_ANY, "a": ["k"]}, [{"x": X, "a": ints(-1)}, {"x": X, "a": ints()}]
    ),
    "ReduceMean with noop_with_empty_axes": (
        "ReduceMean x,a", {"noop_with_empty_axes": 1}, {**_ANY, "a": ["k"]}, [{"x": X, "a": ints(1)}, {"x": X, "a": ints()}]
    ),
    "AffineGrid in two or three dimensions": (
        "AffineGrid t,s", {}, {"t": ["b", "d", "e"], "s": ["k"]},
        [{"t": array(2, 2, 3), "s": ints(2, 3, 4, 5)}, {"t": array(2, 3, 4), "s": ints(2, 3, 4, 5, 3)}],
    ),
    "Resize of batch and channels": (
        "Resize x,,f", {"mode": "nearest"}, {"x": ["b", "c", "h", "w"], "f": [4]},
        [{"x": array(2, 3, 4, 5), "f": np.array(f, np.float32)} for f in ([1, 2, 1, 2], [2, 1, 1, 1], [1, 1, 2, 1.5])],
    ),
    "Conv with a kernel of any size": (
        "Conv x,w", {"pads": [1, 0, 0, 2], "strides": [2, 1]}, _KERNEL,
        [{"x": array(2, 3, 8, 8), "w": array(4, 3, 3, 3)}, {"x": array(1, 2, 9, 7), "w": array(2, 2, 1, 5)}],
    ),
    "Conv by groups of any size": (
        "Conv x,w", {"group": 2}, _KERNEL,
        [{"x": array(2, 4, 8, 8), "w": array(4, 2, 3, 3)}, {"x": array(2, 6, 8, 8), "w": array(2, 3, 2, 3)}],
    ),
    "Conv by channel with a kernel of any size": (
        "Conv x,w", {"group": 4, "pads": [1] * 4}, {"x": ["b", 4, "h", "w"], "w": ["o", 1, "kh", "kw"]},
        [{"x": array(2, 4, 8, 8), "w": array(4, 1, 3, 3)}, {"x": array(2, 4, 8, 8), "w": array(8, 1, 2, 3)}],
    ),
    "ConvTranspose with a kernel of any size": (
        "ConvTranspose x,w", {"strides": [2, 2], "pads": [1, 0, 1, 0]}, _KERNEL,
        [{"x": array(2, 3, 5, 5), "w": array(3, 4, 3, 3)}, {"x": array(1, 2, 4, 4), "w": array(2, 2, 2, 3)}],
    ),
    "DeformConv with a kernel of any size": (
        "DeformConv x,w,o", {}, {"x": ["b", "c", "h", "w"], "w": ["m", "i", "k", "l"], "o": ["b", "p", "oh", "ow"]},
        [
            {"x": array(2, 3, 6, 6), "w": array(4, 3, 3, 3), "o": array(2, 18, 4, 4)},
            {"x": array(2, 3, 6, 6), "w": array(4, 3, 2, 3), "o": array(2, 12, 5, 4)},
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operands_of_the_run_time_agree_with_onnx_runtime(name: str) -> None:
    text, attributes, dims, feeds = CASES[name]
    op_type, inputs = text.split(" ")
    node = helper.make_node(op_type, inputs.split(","), ["y"], **attributes)
    assert_agrees(model_of([node], feeds[0], ["y"], opset=20, dynamic=dims), *feeds)


@pytest.mark.parametrize("auto_pad", ["SAME_LOWER", "SAME_UPPER"])
@pytest.mark.parametrize(
    ("op_type", "weight", "attributes"),
    [
        ("Conv", (4, 3, 4, 3), {"strides": [2, 3]}),
        ("Conv", (3, 1, 4, 3), {"strides": [2, 2], "group": 3}),
        ("MaxPool", None, {"strides": [2, 2], "kernel_shape": [3, 2]}),
        ("AveragePool", None, {"strides": [2, 2], "kernel_shape": [3, 2]}),
        ("AveragePool", None, {"strides": [2, 2], "kernel_shape": [3, 2], "count_include_pad": 1}),
        ("LpPool", None, {"strides": [2, 2], "kernel_shape": [3, 2]}),
    ],
)
def test_same_pads_of_dynamic_images(
    op_type: str, weight: tuple[int, ...] | None, attributes: dict[str, Any], auto_pad: str
) -> None:
    constants = {} if weight is None else {"w": array(*weight)}
    node = helper.make_node(op_type, ["x", *constants], ["y"], auto_pad=auto_pad, **attributes)
    images = [{"x": array(2, 3, *size)} for size in ((8, 9), (7, 8), (5, 6))]
    assert_agrees(model_of([node], images[0], ["y"], constants, dynamic={"x": ["b", 3, "h", "w"]}), *images)


@pytest.mark.parametrize("auto_pad", ["SAME_LOWER", "SAME_UPPER"])
def test_same_pads_of_a_kernel_of_any_size(auto_pad: str) -> None:
    feeds = [{"x": array(2, 3, 8, 9), "w": array(4, 3, *kernel)} for kernel in ((4, 3), (2, 5))]
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=auto_pad, strides=[1, 2])
    assert_agrees(model_of([node], feeds[0], ["y"], dynamic=_KERNEL), *feeds)
