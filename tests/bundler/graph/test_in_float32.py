"""A half-precision ONNX graph computes in float32 once it is widened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundler.graph.in_float32 import write_in_float32
from bundler.graph.onnx_runtime import OnnxModel


def test_weights_casts_and_constants_are_widened(tmp_path: Path) -> None:
    half = TensorProto.FLOAT16
    weight = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float16)
    third = helper.make_node("Constant", [], ["third"], value=numpy_helper.from_array(np.float16(1 / 3)))
    nodes = [
        third,
        helper.make_node("Cast", ["x"], ["h"], to=half),
        helper.make_node("MatMul", ["h", "w"], ["p"]),
        helper.make_node("Mul", ["p", "third"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3])], [helper.make_tensor_value_info("y", half, [4, 2])]
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(tmp_path / "m.onnx"))
    write_in_float32(tmp_path / "m.onnx", tmp_path / "wide.onnx")
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    y = OnnxModel(tmp_path / "wide.onnx")({"x": x})["y"]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, x @ weight.astype(np.float32) * np.float32(np.float16(1 / 3)), rtol=1e-5, atol=1e-6)
