"""Operators that ONNX defines as functions are expanded, whatever of their optional inputs and outputs a node has."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import bundler
from tests.bundler.converters.native.oracle import Array, array

FEEDS = {"x": array(2, 4, 7), "w": array(4, 1, 3, seed=1), "b": array(4, seed=2), "past": array(2, 4, 2, seed=3)}
INPUTS = (
    ["x", "w"], ["x", "w", ""], ["x", "w", "", ""], ["x", "w", "b"], ["x", "w", "b", ""], ["x", "w", "", "past"],
    ["x", "w", "b", "past"],
)  # fmt: skip
OUTPUTS = (["y"], ["y", ""], ["y", "state"], ["", "state"])


def causal_conv(inputs: list[str], outputs: list[str]) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return a model of one CausalConvWithState with a dynamic batch, and its inputs."""
    feeds = {name: FEEDS[name] for name in inputs if name}
    dims = {name: ["batch", *a.shape[1:]] if name in ("x", "past") else a.shape for name, a in feeds.items()}
    declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in dims.items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name]
    node = helper.make_node("CausalConvWithState", inputs, outputs, activation="silu")
    graph = helper.make_graph([node], "g", declared, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)], ir_version=12), feeds


@pytest.mark.parametrize("outputs", OUTPUTS, ids="/".join)
@pytest.mark.parametrize("inputs", INPUTS, ids="/".join)
def test_optional_inputs_and_outputs_may_be_left_out(inputs: list[str], outputs: list[str]) -> None:
    model, feeds = causal_conv(inputs, outputs)
    got = bundler.convert(model)(**feeds)
    names = [name for name in outputs if name]
    for name, want in zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True):
        assert got[name].numpy().dtype == want.dtype
        np.testing.assert_allclose(got[name].numpy(), want, rtol=1e-5, atol=1e-6)


def test_a_call_of_a_function_of_the_model_may_leave_outputs_out() -> None:
    nodes = [helper.make_node("Add", ["a", "a"], ["twice"]), helper.make_node("Neg", ["a"], ["minus"])]
    function = helper.make_function("own", "Both", ["a"], ["twice", "minus"], nodes, [helper.make_opsetid("", 18)])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Both", ["x"], ["y"], domain="own")], "g", [x], [y])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=8)
    value = array(3)
    np.testing.assert_array_equal(bundler.convert(model)(x=value)["y"].numpy(), value + value)
