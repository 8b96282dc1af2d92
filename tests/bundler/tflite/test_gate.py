"""The arithmetic of the accuracy gate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite.gate import Agreement, Gate, GateFigures, agreement


def test_agreement_of_floats() -> None:
    want = np.array([[3.0, 4.0], [0.0, 5.0]])
    output = Agreement.of(want, want + np.eye(2) / 2)
    assert output.sqnr_db == pytest.approx(10 * math.log10(50 / 0.5))
    assert output.cosine == pytest.approx((3 * 3.5 + 16 + 27.5) / math.sqrt(50 * (3.5**2 + 16 + 5.5**2)))
    assert output.top1 == 1
    assert Agreement.of(want, want[:, ::-1]).top1 == 0
    assert Agreement.of(want, want).sqnr_db == math.inf
    assert "sqnr_db" not in Agreement.of(want, want).to_json()
    assert Agreement.of(want, want * np.nan).sqnr_db == -math.inf
    assert Agreement.of(np.array([1.0, 2.0]), np.array([1.0, 2.0])).top1 is None  # one number per call: no classes


def test_agreement_ignores_values_that_are_infinite_in_pytorch() -> None:
    want = np.array([[1.0, -np.inf], [-np.inf, 1.0]])
    assert Agreement.of(want, np.where(np.isinf(want), -1e9, 0.9)).sqnr_db == pytest.approx(20)


def test_agreement_of_integers_and_of_data_dependent_sizes() -> None:
    want = [
        {"label": np.array([1, 2]), "found": np.ones((3, 2)), "gone": np.ones(2)},
        {"label": np.array([3, 4]), "found": np.ones((1, 2)), "gone": np.ones(2)},
    ]
    got = [{"label": np.array([1, 2]), "found": np.ones((3, 2)) * 0.9}, {"label": np.array([3, 5]), "found": np.ones((1, 2))}]
    agreements = agreement(want, got)
    assert set(agreements) == {"label", "found"}
    assert agreements["label"] == Agreement(top1=0.75)
    assert agreements["found"].sqnr_db == pytest.approx(10 * math.log10(8 / 0.06))


@pytest.mark.parametrize(
    ("metric", "passes"), [(0.98, True), (0.97, True), (0.9699, False), (0.99, True), (None, False)]
)
def test_metric_passes_down_to_its_floor(metric: float | None, passes: bool) -> None:
    gate = Gate(TfliteSpec(), "m.py:accuracy", 0.98)
    complaint = gate.complaint(GateFigures(metric=metric))
    assert (complaint is None) == passes
    if not passes:
        assert "PyTorch's is 0.98, and max_drop 0.01 requires 0.97" in str(complaint)


def test_agreement_is_gated_only_without_a_metric() -> None:
    figures = GateFigures({"a": Agreement(12.0, 0.99, 0.8), "b": Agreement(9.0, 0.99, 1.0), "n": Agreement(top1=0.5)})
    assert Gate(TfliteSpec(min_sqnr=9)).complaint(figures) is None
    assert "output b: its SQNR against PyTorch is 9.0 dB" in str(Gate(TfliteSpec(min_sqnr=10)).complaint(figures))
    assert "output a: 80.0%" in str(Gate(TfliteSpec(min_sqnr=9, min_top1=0.9)).complaint(figures))
    assert "output n: 50.0%" in str(Gate(TfliteSpec(min_sqnr=9, min_top1=0.7)).complaint(figures))
    assert Gate(TfliteSpec(), "m:f", 1.0).complaint(GateFigures(figures.agreement, metric=1.0)) is None
