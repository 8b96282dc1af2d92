"""Which nodes of a model cannot be lowered, found in one walk."""

from __future__ import annotations

from onnx import TensorProto, helper

from bundler.converters.native.examine import examine
from bundler.converters.native.registry import builtin
from bundler.graph.load import from_proto
from bundler.graph.normalize import normalize


def test_failed_and_unchecked_nodes_are_told_apart() -> None:
    """The types after an unknown operator are not known, so what follows it cannot be checked."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Dropout", ["a", "ratio", "training"], ["b"], name="training"),
        helper.make_node("Wavelet", ["b"], ["c"], domain="ada", name="unknown"),
        helper.make_node("Neg", ["c"], ["y"], name="after"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy")
    constants = [helper.make_tensor("ratio", 1, [], [0.5]), helper.make_tensor("training", 9, [], [True])]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ada", 1)]
    model = normalize(from_proto(helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=opsets)))
    findings = examine({"serving_default": model}, builtin())["serving_default"]
    assert [node.name for node in findings.nodes] == ["fine", "training", "unknown", "after"]
    assert [(node.name, error.what) for node, error in findings.failed] == [
        ("unknown", "There is no handler."), ("training", "Dropout is in training mode."),
    ]  # fmt: skip
    assert [node.name for node in findings.unchecked] == ["after"]
