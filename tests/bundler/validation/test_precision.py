"""The gate of a SavedModel in lower precision, without a build; tests of builds are in test_lower_precision.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bundler.errors import GateError, TfbundleError
from bundler.validation.precision import BFLOAT16, Judged, _as_rows, forms_error, golden_tolerance
from bundler.values.comparison import Row
from serving.golden.compare import Difference


def row(max_rel: float) -> Row:
    return Row("serving_default", "example", BFLOAT16, Difference("y", 0.0, max_rel), gated=False)


@pytest.mark.parametrize(
    ("errors", "tolerance"), [([], 0.03125), ([0.001], 0.03125), ([0.02, 0.01], 0.08), ([0.02, math.inf], 0.08)]
)
def test_golden_answers_may_be_four_times_as_far_off_as_here(errors: list[float], tolerance: float) -> None:
    assert golden_tolerance([row(error) for error in errors]) == pytest.approx(tolerance)


def test_calls_of_different_sizes_are_joined_as_rows_of_the_last_axis() -> None:
    calls = [{"y": np.zeros((2, 3)), "n": np.zeros((2, 4))}, {"y": np.ones((5, 3)), "n": np.zeros((1, 6))}]
    joined = _as_rows(calls)
    assert joined["y"].shape == (7, 3) and joined["n"].shape == (14,)
    assert _as_rows([{"y": np.float32(1.0)}, {"y": np.float32(2.0)}])["y"].tolist() == [1.0, 2.0]


def test_the_time_is_compared_for_the_batch_sizes_that_both_were_measured_with() -> None:
    judged = Judged("precision", latency_ms={"float32": {"1": 10.0, "8": 80.0}, "bfloat16": {"1": 5.0}})
    assert judged.ratios == [0.5]
    assert Judged("precision").ratios == []


@pytest.mark.parametrize(("error", "code"), [(GateError("below"), 3), (TfbundleError("crashed"), 1)])
def test_the_exit_code_says_whether_a_gate_was_missed(error: TfbundleError, code: int) -> None:
    found = forms_error({"net": ()}, {"net": (error,)}, "bundle")
    assert found.exit_code == code and found.bundle == "bundle"
    assert found.what == f"Published in float32.\nnet: {error.what}"
