"""If, Loop and Scan: computed conditions, outer values, changing shapes, and decisions at build time."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of


def value(name: str, dims: list[int | str | None] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def branches(weight: str) -> tuple[onnx.GraphProto, onnx.GraphProto]:
    """Return the branches x @ weight and -x; both use values of the outer graph."""
    product = helper.make_graph([helper.make_node("MatMul", ["x", weight], ["p"])], "then", [], [value("p")])
    negative = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "else", [], [value("n")])
    return product, negative


def test_if_with_a_computed_condition() -> None:
    then, other = branches("w")
    node = helper.make_node("If", ["go"], ["y"], then_branch=then, else_branch=other)
    x, weights = array(2, 4), {"w": array(4, 4, seed=1)}
    model = model_of([node], {"x": x, "go": np.array(True)}, ["y"], weights)
    assert_agrees(model, *({"x": x, "go": np.array(go)} for go in (True, False)))


def test_if_with_a_constant_condition_lowers_one_branch() -> None:
    then, other = branches("w")
    node = helper.make_node("If", ["go"], ["y"], then_branch=then, else_branch=other)
    x, weights = array(2, 4), {"w": array(4, 4, seed=1), "go": np.array(False)}
    converted = assert_agrees(model_of([node], {"x": x}, ["y"], weights), {"x": x})
    ops = {n.op for n in converted._functions["serving_default"].graph.as_graph_def().node}
    assert "Neg" in ops
    assert not {"MatMul", "If", "StatelessIf"} & ops


def loop_body() -> onnx.GraphProto:
    """Compute state * 0.5 + w while its sum is above the limit; the states are scanned."""
    nodes = [
        helper.make_node("Mul", ["state", "half"], ["h"]),
        helper.make_node("Add", ["h", "w"], ["next"]),
        helper.make_node("Identity", ["next"], ["seen"]),
        helper.make_node("ReduceSum", ["next"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "limit"], ["on"]),
    ]
    inputs = [value("step", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", ["batch", 3])]
    outputs = [value("on", [], TensorProto.BOOL), value("next", ["batch", 3]), value("seen", ["batch", 3])]
    return helper.make_graph(nodes, "body", inputs, outputs)


WEIGHTS = {"half": np.array(0.5, np.float32), "w": np.array([0.1, 0.2, 0.3], np.float32)}


def test_loop_with_a_count_and_a_condition() -> None:
    node = helper.make_node("Loop", ["count", "start", "x"], ["last", "all"], body=loop_body())
    x = np.abs(array(2, 3)) + 1
    inputs: dict[str, Array] = {"x": x, "count": np.array(5, np.int64), "limit": np.array(2.5, np.float32)}
    model = model_of([node], inputs, ["last", "all"], {**WEIGHTS, "start": np.array(True)})
    assert_agrees(model, inputs, {**inputs, "count": np.array(1, np.int64)}, {**inputs, "limit": np.array(-9, np.float32)})


def test_loop_with_a_growing_state() -> None:
    nodes = [
        helper.make_node("Concat", ["state", "x"], ["next"], axis=0),
        helper.make_node("Identity", ["go"], ["on"]),
    ]
    body = helper.make_graph(
        nodes, "body",
        [value("step", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", [None, 3])],
        [value("on", [], TensorProto.BOOL), value("next", [None, 3])],
    )  # fmt: skip
    node = helper.make_node("Loop", ["count", "", "x"], ["y"], body=body)
    inputs: dict[str, Array] = {"x": array(2, 3), "count": np.array(3, np.int64)}
    assert_agrees(model_of([node], inputs, ["y"]), inputs, {**inputs, "count": np.array(0, np.int64)})


def test_a_loop_in_a_branch() -> None:
    inner = helper.make_node("Loop", ["count", "start", "x"], ["last", "all"], body=loop_body())
    then = helper.make_graph([inner], "then", [], [value("last")])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "else", [], [value("n")])
    node = helper.make_node("If", ["go"], ["y"], then_branch=then, else_branch=other)
    inputs: dict[str, Array] = {"x": np.abs(array(2, 3)), "go": np.array(True)}
    weights = {**WEIGHTS, "start": np.array(True), "count": np.array(4, np.int64), "limit": np.array(-9, np.float32)}
    assert_agrees(model_of([node], inputs, ["y"], weights), inputs, {**inputs, "go": np.array(False)})


def test_scan_backwards_over_the_second_axis() -> None:
    nodes = [
        helper.make_node("Mul", ["state", "half"], ["h"]),
        helper.make_node("Add", ["h", "item"], ["next"]),
        helper.make_node("Neg", ["next"], ["out"]),
    ]
    body = helper.make_graph(
        nodes, "body", [value("state", [2]), value("item", [2])], [value("next", [2]), value("out", [2])]
    )
    node = helper.make_node(
        "Scan", ["start", "x"], ["last", "all"], body=body, num_scan_inputs=1, scan_input_axes=[1],
        scan_input_directions=[1], scan_output_axes=[1], scan_output_directions=[1],
    )  # fmt: skip
    inputs: dict[str, Array] = {"start": array(2), "x": array(2, 5, seed=1)}
    model = model_of([node], inputs, ["last", "all"], WEIGHTS, dynamic={"start": [2], "x": [2, "t"]})
    assert_agrees(model, inputs, {**inputs, "x": array(2, 9, seed=2)})
