"""What the engine reads from nodes and values of an ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.converters.native.nodes import (
    all_nodes,
    attributes_of,
    dim_names_of,
    has_graph,
    initializer_array,
    is_read,
    is_read_once,
    layer_scope,
)
from tests.bundler.converters.native.oracle import array, model_of


def graph_of(*nodes: object, outputs: tuple[str, ...] = ("y",)) -> ir.Graph:
    return ir.serde.deserialize_model(model_of(list(nodes), {"x": array(2, 3)}, outputs)).graph  # type: ignore[arg-type]


def test_attributes_are_python_values() -> None:
    node = helper.make_node(
        "Any", ["x"], ["y"], whole=2, real=0.5, text="a", numbers=[1, 2], tensor=helper.make_tensor("t", 1, [2], [1.0, 2.0])
    )
    attributes = attributes_of(ir.serde.deserialize_node(node))
    np.testing.assert_array_equal(attributes.pop("tensor"), [1.0, 2.0])
    assert attributes == {"whole": 2, "real": 0.5, "text": "a", "numbers": [1, 2]}


def test_readers_of_a_value_include_the_caller_of_the_graph() -> None:
    graph = graph_of(
        helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"]), helper.make_node("Abs", ["x"], ["z"]),
        outputs=("y", "a"),
    )  # fmt: skip
    values = {output.name: output for node in graph for output in node.outputs}
    assert {name: (is_read(v), is_read_once(v)) for name, v in values.items()} == {
        "a": (True, False), "y": (True, True), "z": (False, False),
    }  # fmt: skip
    assert not is_read_once(None)


def test_nodes_of_branches_are_nodes_of_the_graph() -> None:
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "b", [], [helper.make_tensor_value_info("n", 1, None)])
    graph = graph_of(
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Cast", ["s"], ["c"], to=9),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    )  # fmt: skip
    assert [node.op_type for node in all_nodes(graph)].count("Neg") == 2
    assert [has_graph(node) for node in graph] == [False, False, True]


def test_dim_names_are_none_for_known_sizes() -> None:
    assert dim_names_of(graph_of(helper.make_node("Relu", ["x"], ["y"])).inputs[0]) == ("batch", None)
    assert dim_names_of(ir.Value(name="x")) is None


def test_initializers_of_strings_are_bytes() -> None:
    strings = initializer_array(ir.StringTensor([b"a", b"b"], shape=ir.Shape([2, 1])))
    assert strings.tolist() == [[b"a"], [b"b"]]


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("block.1", "block.1"), ("/layer/Conv:0", "n_layer_Conv_0"), ("", "Relu"), ("é", "n_"), ("層1", "n_1"),
        ("a b", "a_b"), (".x", "n.x"),
    ],
)  # fmt: skip
def test_layer_names_are_valid_in_tensorflow(name: str, scope: str) -> None:
    assert layer_scope(helper.make_node("Relu", ["x"], ["y"], name=name)) == scope
