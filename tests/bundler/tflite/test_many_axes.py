"""What builds over tensors of many axes also runs in LiteRT, and is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from bundler.errors import TfliteError
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.converters.native.rank_cases import RankCase, cases
from tests.bundler.tflite.lowered import Lowered

OPERATORS = (
    "Add", "Div", "Where", "PRelu", "Max", "Softmax", "LogSoftmax", "Hardmax", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2",
    "ReduceLogSumExp", "ArgMax", "MatMul", "Transpose", "Tile", "Slice", "Pad", "Expand", "Concat", "Split", "Gather",
    "GatherElements", "GatherND", "ScatterND", "CumSum", "OneHot", "Trilu", "LayerNormalization", "LpNormalization",
    "MeanVarianceNormalization", "BatchNormalization", "InstanceNormalization", "GroupNormalization",
)  # fmt: skip

RANKS = (5, 7, 8)

CASES = {
    case.name: case
    for case in cases(RANKS)
    if case.op_type in OPERATORS and "run time" not in case.detail and "int64" not in case.detail
}

REFUSED = {
    **{name: "TensorScatterM" for name, case in CASES.items() if case.attributes.get("reduction") in ("max", "min")},
    "MatMul-7-weight": "FULLY_CONNECTED",
    "MatMul-8-weight": "FULLY_CONNECTED",
}
"""Cases that LiteRT does not run -> the operator that the build's error names. TensorFlow's converter puts the reshapes around a
product into FULLY_CONNECTED, which then has too many axes for XNNPACK."""


def lowered(case: RankCase, folder: Path) -> Lowered:
    outputs = [f"y{i}" for i in range(case.outputs)]
    dims = {name: list(value.shape) for name, value in case.inputs.items()}
    return Lowered(
        model_of([case.node], case.inputs, outputs, case.constants, opset=21, dynamic=dims), case.inputs, folder
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    if name in REFUSED:
        with pytest.raises(TfliteError, match=REFUSED[name]):
            lowered(CASES[name], tmp_path).assert_answers()
        return
    lowered(CASES[name], tmp_path).assert_answers()


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 2, 3, 2, 4), -1), ((1, 2, 3, 2, 2, 4), -1), ((1, 2, 3, 2, 2, 2, 4), -1), ((1, 2, 3, 2, 2, 2, 4), 2)],
    ids=str,
)
def test_softmax_of_many_axes(tmp_path: Path, shape: tuple[int, ...], axis: int) -> None:
    x = array(*shape)
    node = helper.make_node("Softmax", ["x"], ["y"], axis=axis)
    file = Lowered(model_of([node], {"x": x}, ["y"], dynamic={"x": list(shape)}), {"x": x}, tmp_path)
    file.assert_answers()
    assert "SOFTMAX" in file.operators
