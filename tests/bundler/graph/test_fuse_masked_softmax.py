"""FuseMaskedSoftmax removes the test for NaN if the mask makes it unnecessary, or gives a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.graph.fuse_masked_softmax import FuseMaskedSoftmax
from bundler.graph.infer import infer_shapes
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of
from tests.bundler.tflite.lowered import Lowered

LOWEST = float(np.finfo(np.float32).min)
MASK = np.array([[[[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]]], bool)
INPUTS: dict[str, Any] = {"s": array(1, 2, 3, 4), "m": MASK}


def attention(
    *, lowest: float = -np.inf, swapped: bool = False, zero: float = 0.0, axis: int = -1, mask: bool = True
) -> onnx.ModelProto:
    """softmax(s [1, 2, 3, 4] + mask [1, 1, 3, 4]) with NaN replaced by zero; the mask hides the whole second row."""
    terms = ["bias" if mask else "m2", "s"] if swapped else ["s", "bias" if mask else "m2"]
    nodes = [
        helper.make_node("Where", ["m", "none", "lowest"], ["bias"]),
        helper.make_node("Identity", ["bias"], ["m2"]),
        helper.make_node("Add", terms, ["sum"]),
        helper.make_node("Softmax", ["sum"], ["p"], axis=axis),
        helper.make_node("IsNaN", ["p"], ["bad"]),
        helper.make_node("Where", ["bad", "zero", "p"], ["y"], "where"),
    ]
    numbers = {"none": 0.0, "lowest": lowest, "zero": zero}
    dynamic = {name: list(value.shape) for name, value in INPUTS.items()}
    return model_of(nodes, INPUTS, ["y"], {k: np.float32(v) for k, v in numbers.items()}, dynamic=dynamic)  # type: ignore[misc]


def fused(model: onnx.ModelProto) -> tuple[list[str], FuseMaskedSoftmax]:
    fusion, graph = FuseMaskedSoftmax(), ir.from_proto(model)
    infer_shapes(graph)
    return [node.op_type for node in fusion(graph).model.graph], fusion


@pytest.mark.sample(3)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("lowest", "result"), [(-np.inf, "MaskedSoftmax"), (LOWEST, "Softmax")])
def test_replacement_of_nan_is_removed(lowest: float, result: str, swapped: bool, tmp_path: Path) -> None:
    model = attention(lowest=lowest, swapped=swapped)
    operators, fusion = fused(model)
    assert result in operators and "IsNaN" not in operators
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(model, INPUTS)
    lowered = Lowered(model, INPUTS, tmp_path)
    lowered.assert_answers()
    assert "NOT_EQUAL" not in lowered.operators


DECLINED: list[tuple[dict[str, Any], str]] = [
    ({"zero": 1.0}, "must be zero"), ({"axis": 2}, "last axis"), ({"mask": False}, "One addend must be a mask"),
    ({"lowest": 5.0}, "One addend must be a mask"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "reason"), DECLINED, ids=str)
def test_declines_with_a_reason(settings: dict[str, Any], reason: str) -> None:
    model = attention(**settings)
    operators, fusion = fused(model)
    assert "IsNaN" in operators
    assert [(match.node, reason in match.reason) for match in fusion.declined] == [("where", True)]
    assert_agrees(model, INPUTS)
