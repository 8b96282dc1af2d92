"""Names that ONNX allows: repeated, empty, or of characters that TensorFlow's scopes and Python's parameters do not accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bundler
from bundler.errors import ConversionError
from bundler.saved_model.runner import SavedModel
from bundler.values.arrays import Array

X = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
NAMES = ("é", "a b", "/a/b", "x:0", "_n", "-n", "層", "a\\b", "^x", "@", '"', "{{node}}", "*", "{}", "🦊", "a//", "while", "\n")


def value(name: str, dims: Any = ("n", 3), kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, dims)


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], opset: int = 17, **parts: Any) -> Any:
    functions = parts.pop("functions", [])
    graph = helper.make_graph(nodes, parts.pop("name", "g"), inputs, outputs, **parts)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("mylib", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def assert_answers(proto: Any, inputs: dict[str, Array], outputs: dict[str, Array], folder: Path) -> None:
    """Convert, save, load, and compare both the converted model and the SavedModel."""
    converted = bundler.convert(proto)
    converted.save(folder)
    served = SavedModel(folder)("serving_default", inputs)
    for name, want in outputs.items():
        for got in (converted(**inputs)[name].numpy(), served[name]):
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("names", [("n", "n"), ("", ""), ("n", ""), ("x", "y"), ("Relu", "Relu_1"), ("n", "n_1")], ids=str)
def test_repeated_and_empty_node_names_convert(names: tuple[str, str], tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["t"], name=names[0]), helper.make_node("Neg", ["t"], ["y"], name=names[1])]
    assert_answers(model(nodes, [value("x")], [value("y")]), {"x": X}, {"y": -np.maximum(X, 0)}, tmp_path / "1")


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_nodes_values_graphs_and_functions_converts(name: str, tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["a"], [name], name=name), helper.make_node("Neg", [name], ["b"], name=name)]
    function = helper.make_function("mylib", name, ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node(name, ["x"], ["t"], domain="mylib", name=name),
        helper.make_node("Add", ["t", "one" + name], [name], name=name),
        helper.make_node("Neg", [name], ["y"], name=name),
    ]
    one = numpy_helper.from_array(np.ones(3, np.float32), "one" + name)
    proto = model(nodes, [value("x")], [value("y")], name=name, initializer=[one], functions=[function])
    assert_answers(proto, {"x": X}, {"y": np.maximum(X, 0) - 1}, tmp_path / "1")


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.isprintable()] + ["in", "class", "None", "lambda", "inputs"]
)
def test_any_visible_name_of_inputs_outputs_and_dims_is_kept(name: str, tmp_path: Path) -> None:
    proto = model([helper.make_node("Neg", [name], [f"{name}!"])], [value(name, (name, 3))], [value(f"{name}!", (name, 3))])
    assert_answers(proto, {name: X}, {f"{name}!": -X}, tmp_path / "1")


@pytest.mark.sample(3)
@pytest.mark.parametrize("opset", [7, 9, 12])
@pytest.mark.parametrize("name", ["n", "", "é"])
def test_repeated_names_survive_older_opsets(opset: int, name: str, tmp_path: Path) -> None:
    operators = (("Relu", "x", "t"), ("Flatten", "t", "u"), ("Neg", "u", "y"))
    nodes = [helper.make_node(operator, [given], [result], name=name) for operator, given, result in operators]
    proto = model(nodes, [value("x")], [value("y")], opset)
    assert_answers(proto, {"x": X}, {"y": -np.maximum(X, 0)}, tmp_path / "1")


@pytest.mark.parametrize("name", ["n", "", "é"])
def test_branches_may_repeat_the_names_of_nodes_values_and_weights(name: str, tmp_path: Path) -> None:
    def branch(number: float) -> Any:
        weight = numpy_helper.from_array(np.full(3, number, np.float32), "w")
        nodes = [helper.make_node("Add", ["x", "w"], ["h"], name=name), helper.make_node("Neg", ["h"], ["o"], name=name)]
        return helper.make_graph(nodes, name or "b", [], [value("o", None)], initializer=[weight])

    nodes = [
        helper.make_node("Mul", ["x", "w"], ["h"], name=name),
        helper.make_node("If", ["c"], ["o"], name=name, then_branch=branch(1), else_branch=branch(2)),
        helper.make_node("Add", ["h", "o"], ["y"], name=name),
    ]
    five = numpy_helper.from_array(np.full(3, 5, np.float32), "w")
    inputs = [value("x"), value("c", (), TensorProto.BOOL)]
    proto = model(nodes, inputs, [value("y")], initializer=[five])
    for taken, number in ((True, 1), (False, 2)):
        want = {"y": X * 5 - (X + np.float32(number))}
        assert_answers(proto, {"x": X, "c": np.array(taken)}, want, tmp_path / str(taken))


@pytest.mark.parametrize("name", ["é", "/a b/Mat:0", "層"])
def test_messages_have_the_name_that_the_file_has(name: str) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["t"], name=name), helper.make_node("Nonsense", ["t"], ["y"], name=name)]
    with pytest.raises(ConversionError) as caught:
        bundler.convert(model(nodes, [value("x")], [value("y")]))
    assert f"node {name!r} (Nonsense: " in str(caught.value)


def test_a_file_with_repeated_names_is_built_and_verified(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["in"], ["t"], name="é"), helper.make_node("Neg", ["t"], ["y"], name="é")]
    onnx.save(model(nodes, [value("in")], [value("y")]), str(tmp_path / "m.onnx"))
    bundle = bundler.build(tmp_path / "m.onnx", out=tmp_path / "b", name="m")
    assert bundle.notices == ()
    assert bundle.verify() == []
    assert [spec["name"] for spec in bundle.record("m")["signatures"]["serving_default"]["inputs"]] == ["in"]
