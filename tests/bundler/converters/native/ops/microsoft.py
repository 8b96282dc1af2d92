"""Nodes of com.microsoft for tests: compared with ONNX Runtime, or only run where it has no CPU kernel."""

from __future__ import annotations

from typing import Any

from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, assert_node_agrees, native

MS = "com.microsoft"
X = array(2, 5, 8)


def assert_op_agrees(op_type: str, inputs: dict[str, Array], constants: dict[str, Array] | None = None, **options: Any) -> None:
    """Compare a node with ONNX Runtime at two batch sizes; with three axes, the length is dynamic too."""
    dynamic = {k: ["batch", "length", *v.shape[2:]] for k, v in inputs.items() if v.ndim == 3}
    assert_node_agrees(op_type, inputs, constants, domain=MS, **{"dynamic": dynamic, **options})


def run(op_type: str, inputs: dict[str, Array], outputs: int = 1, dtype: int = 1, **attributes: Any) -> list[Array]:
    """Run a node that ONNX Runtime has no CPU kernel for."""
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, list(inputs), names, domain=MS, **attributes)
    declared = [helper.make_tensor_value_info(k, 1, [f"{k}_rows", *v.shape[1:]]) for k, v in inputs.items()]
    results = [helper.make_tensor_value_info(name, dtype, None) for name in names]
    graph = helper.make_graph([node], "test", declared, results)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    produced = native(helper.make_model(graph, opset_imports=versions, ir_version=9))(**inputs)
    return [produced[name].numpy() for name in names]
