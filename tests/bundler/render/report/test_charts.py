"""The report's bar charts: scales and shares of the width."""

from __future__ import annotations

import math

import pytest

from bundler.render.report import charts


@pytest.mark.parametrize(
    ("error", "share"),
    [(0.0, 0.0), (1e-12, 0.0), (1e-9, 0.0), (1e-6, 1 / 3), (1e-3, 2 / 3), (1, 1), (math.inf, 1)],
)
def test_errors_have_a_logarithmic_scale(error: float, share: float) -> None:
    assert charts.on_scale(error) == pytest.approx(share, abs=1e-12)


def test_the_longest_bar_fills_the_width() -> None:
    chart = charts.linear("t", [("a", 2.0, "2"), ("b", 8.0, "8")])
    assert [bar.share for bar in chart.bars] == [0.25, 1.0]
    assert [bar.share for bar in charts.linear("t", [("a", 0.0, "0")]).bars] == [0.0]


def test_a_line_marks_the_tolerance() -> None:
    chart = charts.errors("t", [("a", 1e-6, "good")], 1e-3)
    assert chart.mark == pytest.approx(2 / 3)
    assert chart.mark_text == "The line marks the tolerance, 0.001"


@pytest.mark.parametrize(
    ("error", "text"), [(0, "0 (equal)"), (0.0012345, "0.0012"), (math.inf, "not comparable"), (math.nan, "not comparable")]
)
def test_errors_as_text(error: float, text: str) -> None:
    assert charts.error_text(error) == text
