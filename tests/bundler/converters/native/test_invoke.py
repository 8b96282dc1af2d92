"""Calls of a handler: its attributes, its static inputs, and the number of its inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import helper

from bundler.converters.native import registry
from bundler.converters.native.registry import op
from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import array, model_of, native


@pytest.fixture
def domain() -> Iterator[str]:
    """A domain whose handlers are removed after the test."""
    name = "test.registry"
    yield name
    for key in [k for k in registry._handlers if k[0] == name]:
        del registry._handlers[key]


def test_an_attribute_that_onnx_does_not_define_is_rejected() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": array(2, 3)}, ["y"])
    model.graph.node[0].attribute.append(helper.make_attribute("slope", 0.5))
    with pytest.raises(ConversionError, match="has the attribute 'slope', which ONNX does not define"):
        native(model)


def test_a_static_input_must_be_a_constant(domain: str) -> None:
    op("Fixed", domain=domain, static=("k",))(lambda x, k: x)
    nodes = [helper.make_node("Fixed", ["x", "k"], ["y"], domain=domain)]
    inputs = {"x": array(2, 3), "k": np.zeros(1, np.int64)}
    declared = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()]
    graph = helper.make_graph(nodes, "g", declared, [helper.make_tensor_value_info("y", 1, [2, 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)])
    with pytest.raises(ConversionError, match="needs its input 'k' to be a constant"):
        native(model)


def test_too_many_inputs_are_rejected(domain: str) -> None:
    op("Single", domain=domain)(lambda x: x)
    node = helper.make_node("Single", ["x", "x"], ["y"], domain=domain)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)])
    with pytest.raises(ConversionError, match="Single has 2 inputs; it takes at most 1"):
        native(model)


def test_a_window_that_tensorflow_cannot_run_is_rejected() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1])
    model = model_of([node], {"x": array(1, 1, 4, 4)}, ["y"])
    strides = next(a for a in model.graph.node[0].attribute if a.name == "strides")
    strides.ints[0] = 0
    with pytest.raises(ConversionError, match=r"its attribute strides must be above 0 and below \d+, got \[0, 1\]"):
        native(model)
