"""Values of the tensors within a .tflite file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from bundler.tflite.observed import observed
from tests.bundler.tflite.lowered import Lowered


def test_values_of_inner_tensors_over_all_calls(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Softmax", ["r"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 18)])
    x = np.array([[-1, 0, 2], [3, -4, 5]], np.float32)
    file = Lowered(model, {"x": x}, tmp_path).path.read_bytes()
    values = observed(file, [{"x": x}, {"x": -x}])
    assert any(np.array_equal(found, np.concatenate([x.ravel().clip(0), (-x).ravel().clip(0)])) for found in values.values())
    assert all(found.size in (12, 2, 4, 6) for found in values.values())


def test_a_large_tensor_is_drawn_from_and_keeps_its_ends(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [100_000]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    x = np.linspace(-1, 1, 100_000).astype(np.float32)
    values = observed(Lowered(model, {"x": x}, tmp_path).path.read_bytes(), [{"x": x}])
    (result,) = [found for found in values.values() if found.size < 100_000 and found.min() == 0]
    assert (result.size, result.max()) == (16_386, 1)
