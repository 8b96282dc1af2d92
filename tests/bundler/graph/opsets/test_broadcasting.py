"""Operands of opset 6 are aligned by `broadcast` and `axis`, and slopes of PRelu per channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import array, native

SLOPE = np.array([0.1, 0.2, 0.3], np.float32)


def model(dims: list[Any] | None, slope: Any = SLOPE) -> onnx.ModelProto:
    nodes = [helper.make_node("PRelu", ["x", "slope"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name in "xy")
    graph = helper.make_graph(nodes, "test", [x], [y], [numpy_helper.from_array(slope, "slope")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=4)


@pytest.mark.parametrize("spatial", [(), (4,), (4, 5)])
def test_one_slope_per_channel(spatial: tuple[int, ...]) -> None:
    x = array(2, 3, *spatial)
    got = native(model(["batch", 3, *spatial]))(x=x)["y"].numpy()
    slope = SLOPE.reshape(3, *(1 for _ in spatial))
    np.testing.assert_allclose(got, np.where(x < 0, x * slope, x), rtol=1e-6)


def test_one_slope_for_all_channels() -> None:
    x = array(2, 3, 4)
    got = native(model(["batch", 3, 4], SLOPE[:1]))(x=x)["y"].numpy()
    np.testing.assert_allclose(got, np.where(x < 0, x * SLOPE[0], x), rtol=1e-6)


def test_unknown_rank_is_rejected() -> None:
    with pytest.raises(ConversionError, match="the rank of 'x' must be known in this opset"):
        native(model(None))


def test_axis_of_a_value_without_rank_is_rejected() -> None:
    node = helper.make_node("Add", ["x", "slope"], ["y"], broadcast=1, axis=1)
    without_rank = model(None)
    without_rank.graph.node[0].CopyFrom(node)
    with pytest.raises(ConversionError, match="Add of opset 6 is not supported here: the rank of 'x' must be known"):
        native(without_rank)


def test_axis_beyond_the_first_operand_is_rejected() -> None:
    node = helper.make_node("Add", ["x", "slope"], ["y"], broadcast=1, axis=2)
    beyond = model([2, 3, 3], np.ones((3, 3), np.float32))
    beyond.graph.node[0].CopyFrom(node)
    with pytest.raises(ConversionError, match="axis 2 leaves too few dims"):
        native(beyond)
