"""PRelu of opset 6 applies its slope per channel, whatever the rank."""

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
    with pytest.raises(ConversionError, match="needs inputs of known rank"):
        native(model(None))
