"""The forms of operators in TFLite files: XNNPACK's own where it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, model_of
from tests.bundler.tflite.lowered import Lowered

I64 = np.int64


def lowered(
    nodes: list[Any], inputs: dict[str, Array], constants: dict[str, Any], folder: Path, opset: int = 20
) -> Lowered:
    dynamic = {name: list(value.shape) for name, value in inputs.items()}
    model = model_of(nodes, inputs, ["y"], constants, dynamic=dynamic, opset=opset)
    return Lowered(model, inputs, folder)


@pytest.mark.parametrize("index", [0, -1])
def test_gather_of_one_index_is_delegated(tmp_path: Path, index: int) -> None:
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=1)
    file = lowered([node], {"x": array(1, 5, 8)}, {"i": np.array(index, I64)}, tmp_path)
    file.assert_answers()
    assert file.delegation.share == 1.0


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("indices", "operators"),
    [
        (np.arange(6).reshape(1, 6, 1, 1), {"RESHAPE"}),
        (np.arange(6), set()),
        (np.array([2, 3, 4]), {"STRIDED_SLICE"}),
        (np.array([-2, -1]), {"STRIDED_SLICE"}),
        (np.array([[1, 2], [3, 4]]), {"STRIDED_SLICE", "RESHAPE"}),
        (np.array([0, 2, 1]), {"GATHER"}),
        (np.array([4, 5, 0]), {"GATHER"}),
    ],
    ids=lambda value: "",
)
def test_gather_of_consecutive_indices_is_a_slice(tmp_path: Path, indices: Array, operators: set[str]) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Gather", ["r", "i"], ["g"], axis=1)]
    nodes.append(helper.make_node("Relu", ["g"], ["y"]))
    file = lowered(nodes, {"x": array(3, 6, 4)}, {"i": indices.astype(I64)}, tmp_path)
    file.assert_answers()
    assert set(file.operators) - {"RELU"} == operators


ONE_OPERATOR: list[tuple[str, dict[str, Any], str]] = [
    ("Gelu", {}, "GELU"),
    ("Gelu", {"approximate": "tanh"}, "GELU"),
    ("HardSwish", {}, "HARD_SWISH"),
    ("Softmax", {"axis": -1}, "SOFTMAX"),
    ("Relu", {}, "RELU"),
    ("Sigmoid", {}, "LOGISTIC"),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("op_type", "attributes", "builtin"), ONE_OPERATOR, ids=[f"{c[0]}{c[1]}" for c in ONE_OPERATOR])
def test_activation_is_one_operator(tmp_path: Path, op_type: str, attributes: dict[str, Any], builtin: str) -> None:
    file = lowered([helper.make_node(op_type, ["x"], ["y"], **attributes)], {"x": array(1, 5, 8)}, {}, tmp_path)
    file.assert_answers()
    assert file.operators == {builtin: 1}
    assert file.delegation.share == 1.0


POOLS: list[dict[str, Any]] = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [5, 3], "strides": [3, 2], "pads": [2, 0, 1, 1], "ceil_mode": 1},
]


@pytest.mark.sample(4)
@pytest.mark.parametrize("attributes", POOLS, ids=["pads", "ceil_mode", "both"])
@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_max_pool_is_not_padded_with_the_lowest_number(tmp_path: Path, variant: Any, attributes: dict[str, Any]) -> None:
    """All inputs are negative, so that padding with zeros would be the maximum; int8 keeps a fine scale."""
    x = -1 - np.abs(array(1, 3, 10, 12))
    node = helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    model = model_of([node], {"x": x}, ["y"], {}, dynamic={"x": list(x.shape)}, opset=20)
    file = Lowered(model, {"x": x}, tmp_path, variant)
    file.assert_answers(atol=0.02 if variant == "int8" else 1e-6)
    assert "PADV2" not in file.operators
    assert file.delegation.share == 1.0
