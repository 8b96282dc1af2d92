"""Operators over tensors of many axes agree with ONNX Runtime, whatever TensorFlow's kernels take.

`test_without_onednn` runs these tests with and without oneDNN, whose kernels have limits of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.bundler.converters.native.oracle import array, model_of, native
from tests.bundler.converters.native.rank_cases import RankCase, cases

FAST = (
    "Add-6-float32", "Where-9", "PRelu-7", "Softmax-7-axis 6", "Softmax-7-axis 3", "ReduceLogSumExp-9-from 0 0",
    "ArgMax-9-axis 4 1", "Slice-9-back run time", "Slice-9-steps axes at run time", "Pad-9-constant",
    "Pad-9-crop run time", "Pad-7-reflect run time", "Expand-9-run time", "GatherND-8-depth 8", "GatherND-9-batch",
    "OneHot-9-axis 4", "ScatterElements-8-axis 4 add", "NonZero-9", "ReverseSequence-6",
    "MeanVarianceNormalization-9",
)  # fmt: skip

ALL = {case.name: case for case in cases()}
SLOW_RANKS = (6, 9)


def expected(model: onnx.ModelProto, case: RankCase) -> list[Any]:
    """Return the outputs of ONNX Runtime; of ONNX's reference where ONNX Runtime takes no tensors of this rank."""
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        results: list[Any] = session.run(None, dict(case.inputs))
    except Exception as exc:  # ONNX Runtime's exceptions have no common class
        if not type(exc).__module__.startswith("onnxruntime"):
            raise
        results = ReferenceEvaluator(model).run(None, dict(case.inputs))
    return results


def dims(case: RankCase, dynamic: bool) -> dict[str, list[str | int]]:
    """Return the dims of the inputs: those of `x`, `a` and `b` by name if they are dynamic."""
    named = {name: dynamic and name in ("x", "a", "b", "p") for name in case.inputs}
    return {
        name: [f"{name}{axis}" if named[name] else size for axis, size in enumerate(value.shape)]
        for name, value in case.inputs.items()
    }


@pytest.mark.sample(3)
@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "static"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name, case in ALL.items()
        if name in FAST or case.rank in SLOW_RANKS
    ],
)
def test_operator(name: str, dynamic: bool) -> None:
    case = ALL[name]
    outputs = [f"y{i}" for i in range(case.outputs)]
    model = model_of([case.node], case.inputs, outputs, case.constants, opset=24, dynamic=dims(case, dynamic))
    wanted = expected(model, case)
    answers = native(model)(**case.inputs)
    for output, want in zip(outputs, wanted, strict=True):
        got = answers[output].numpy()
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_all_fast_cases_exist() -> None:
    assert set(FAST) <= set(ALL)


def test_tile_of_uint16_has_no_kernel_of_its_own() -> None:
    x = np.arange(6, dtype=np.uint16).reshape(2, 3)
    node = helper.make_node("Tile", ["x", "n"], ["y"])
    got = native(model_of([node], {"x": x}, ["y"], {"n": np.array([1, 2], np.int64)}))(x=x)["y"].numpy()
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, np.tile(x, (1, 2)))


@pytest.mark.parametrize("size", [0, 1, 3])
def test_softmax_of_seven_axes_at_any_batch_size(size: int) -> None:
    x = array(size, 2, 3, 2, 2, 2, 4)
    node = helper.make_node("Softmax", ["x"], ["y"], axis=-1)
    converted = native(model_of([node], {"x": x}, ["y"], dynamic={"x": ["batch", "n", 3, 2, 2, "m", 4]}))
    got = converted(x=x)["y"].numpy()
    powers = np.exp(x)
    assert got.shape == x.shape
    np.testing.assert_allclose(got, powers / powers.sum(-1, keepdims=True), rtol=1e-5)
