"""The dtype of a model is that of the coarsest computation, not of what it stores or passes on."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from bundler.graph.compute_dtype import compute_dtype

TYPES = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}


def write(path: Path, nodes: list[tuple[str, dict[str, int]]], start: str, end: str) -> Path:
    """Write a chain of nodes with one input each."""
    names = ["x", *(f"v{i}" for i in range(len(nodes) - 1)), "y"]
    chain = [helper.make_node(op, [a], [b], **attrs) for (op, attrs), a, b in zip(nodes, names, names[1:], strict=False)]
    ends = [helper.make_tensor_value_info(n, TYPES[t], ["n", 2]) for n, t in (("x", start), ("y", end))]
    model = helper.make_model(helper.make_graph(chain, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, str(path))
    return path


CAST = {name: ("Cast", {"to": number}) for name, number in TYPES.items()}
EXP = ("Exp", {})


@pytest.mark.parametrize(
    ("nodes", "start", "end", "expected"),
    [
        ([EXP], "float32", "float32", "float32"),
        ([EXP], "float64", "float64", "float64"),
        ([EXP, CAST["float32"]], "float64", "float32", "float32"),
        ([CAST["float32"], EXP], "float16", "float32", "float32"),
        ([("Identity", {}), CAST["float32"], EXP], "float16", "float32", "float32"),
        ([CAST["float16"], EXP, CAST["float32"]], "float32", "float32", "float16"),
        ([EXP, CAST["float16"]], "float32", "float16", "float16"),
        ([("Neg", {})], "int64", "int64", "float32"),
    ],
)
def test_the_coarsest_computation_decides(
    nodes: list[tuple[str, dict[str, int]]], start: str, end: str, expected: str, tmp_path: Path
) -> None:
    assert compute_dtype(write(tmp_path / "m.onnx", nodes, start, end)) == expected
