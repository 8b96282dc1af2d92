"""The walk over the graph: broken graphs and models of old opsets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of, native


def test_a_value_that_no_node_produces_is_an_error() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["missing"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info("y", 1, [2])],
    )  # fmt: skip
    with pytest.raises(ConversionError, match="'missing' is used before any node produces it"):
        native(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def test_models_of_old_opsets_keep_their_meaning() -> None:
    """Softmax before opset 13 flattens to two axes; ONNX Runtime is the reference."""
    x = array(2, 3, 4)
    narrow = x[:, :1]
    for node, given, opset in (
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), x, 11),
        (helper.make_node("Squeeze", ["x"], ["y"], axes=[1]), narrow, 11),
        (helper.make_node("Clip", ["x"], ["y"], min=-0.5, max=0.5), x, 9),
    ):
        assert_agrees(model_of([node], {"x": given}, ["y"], opset=opset), {"x": given})


def test_opsets_before_six_are_converted() -> None:
    x, ones = array(1, 3, 2, 2), np.ones(3, np.float32)
    result = native(old_batch_normalization())(x=x, g=2 * ones, b=ones, m=ones, v=ones)["y"].numpy()
    np.testing.assert_allclose(result, (x - 1) * (2 / np.sqrt(1 + 1e-5)) + 1, rtol=1e-5)


def old_batch_normalization() -> onnx.ModelProto:
    names = ["x", "g", "b", "m", "v"]
    inputs = [helper.make_tensor_value_info(n, 1, [1, 3, 2, 2] if n == "x" else [3]) for n in names]
    graph = helper.make_graph(
        [helper.make_node("BatchNormalization", names, ["y"], consumed_inputs=[0, 0, 0, 1, 1], is_test=1)], "g", inputs,
        [helper.make_tensor_value_info("y", 1, [1, 3, 2, 2])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 5)])
