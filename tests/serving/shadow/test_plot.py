"""The picture of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.errors import TargetError
from serving.shadow.plot import _curve, draw
from serving.shadow.tally import Tally
from tests.serving.shadow.shadowed import report, tally


@pytest.mark.slow
def test_picture_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    shown = report(tally=tally(30, 2, 1))
    for name in ("a.svg", "new/b.svg"):
        draw(shown, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "new" / "b.svg").read_bytes()


def test_picture_has_the_ratio_of_the_latencies(tmp_path: Path) -> None:
    draw(report(tally=tally(30, 2, 1)), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert "<svg" in text and "median 1.5 times" in text


@pytest.mark.slow
def test_comparison_without_answers_is_drawn_too(tmp_path: Path) -> None:
    draw(report(tally=Tally(0.0)), tmp_path / "none.svg")
    assert (tmp_path / "none.svg").stat().st_size > 1000


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"cannot be written as 'x\.doc'"):
        draw(report(), tmp_path / "x.doc")


def test_curve_goes_from_the_least_to_the_largest_value() -> None:
    shares, values = _curve(np.arange(10_000.0))
    assert (shares[0], shares[-1], values[0], values[-1], len(values)) == (0, 1, 0, 9999, 500)
