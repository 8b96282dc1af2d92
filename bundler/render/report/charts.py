"""Bars: labels, values as text, and lengths as shares of the width. The template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["plain", "good", "bad", "quiet"]

FLOOR, CEILING = 1e-9, 1.0
"""Ends of the logarithmic scale of relative errors; float32 itself resolves 6e-8."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        text: the value, as written beside the bar.
        share: length as a share of the width, 0 to 1.
    """

    label: str
    text: str
    share: float
    kind: Kind = "plain"


@dataclass(frozen=True)
class Chart:
    """Bars one below the other.

    Attributes:
        mark: place of a line across all bars, as a share of the width; its meaning is `mark_text`.
    """

    title: str
    bars: tuple[Bar, ...]
    mark: float | None = None
    mark_text: str = ""


def linear(title: str, rows: Sequence[tuple[str, float, str]], kinds: Sequence[Kind] = ()) -> Chart:
    """A chart of (label, value, text) rows whose longest bar fills the width."""
    longest = max((value for _, value, _ in rows), default=0.0) or 1.0
    colours = kinds or ["plain"] * len(rows)
    pairs = zip(rows, colours, strict=True)
    return Chart(title, tuple(Bar(label, text, value / longest, kind) for (label, value, text), kind in pairs))


def errors(title: str, rows: Sequence[tuple[str, float, Kind]], tolerance: float) -> Chart:
    """A chart of (label, relative error, kind) rows on a logarithmic scale, with a line at the tolerance."""
    bars = tuple(Bar(label, error_text(error), on_scale(error), kind) for label, error, kind in rows)
    return Chart(title, bars, on_scale(tolerance), f"The line is the tolerance, {error_text(tolerance)}")


def on_scale(error: float) -> float:
    """Share of the width of a relative error: 0 for an equal answer, 1 for an error of the answer's own size."""
    if error <= FLOOR:
        return 0.0
    return min(1.0, math.log(error / FLOOR) / math.log(CEILING / FLOOR))


def error_text(error: float) -> str:
    if error == 0:
        return "0 (equal)"
    return f"{error:.2g}" if math.isfinite(error) else "not comparable"
