"""Bar charts as data: labels, values as text, and lengths as shares of the width. The template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["plain", "good", "bad", "quiet"]

Text = Callable[[float], str]
"""A function that writes a value for people."""

FLOOR, CEILING = 1e-9, 1.0
"""Ends of the logarithmic scale for relative errors; the resolution of float32 is 6e-8."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: The text before the bar.
        text: The value, as written after the bar.
        share: The length as a share of the width, 0 to 1.
        kind: The meaning of the bar, which decides its colour.
    """

    label: str
    text: str
    share: float
    kind: Kind = "plain"


@dataclass(frozen=True)
class Chart:
    """Horizontal bars below each other.

    Attributes:
        title: The caption.
        bars: The bars from top to bottom.
        mark: Position of a vertical line across all bars as a share of the width, or None for no line.
        mark_text: What the line means.
    """

    title: str
    bars: tuple[Bar, ...]
    mark: float | None = None
    mark_text: str = ""


def linear(title: str, rows: Sequence[tuple[str, float, str]], kinds: Sequence[Kind] = ()) -> Chart:
    """Return a chart of (label, value, text) rows on a linear scale; the longest bar fills the width."""
    longest = max((value for _, value, _ in rows), default=0.0) or 1.0
    colours = kinds or ["plain"] * len(rows)
    pairs = zip(rows, colours, strict=True)
    return Chart(title, tuple(Bar(label, text, value / longest, kind) for (label, value, text), kind in pairs))


def errors(title: str, rows: Sequence[tuple[str, float, Kind]], tolerance: float) -> Chart:
    """Return a chart of (label, relative error, kind) rows on a logarithmic scale, with a line at the tolerance."""
    bars = tuple(Bar(label, error_text(error), on_scale(error), kind) for label, error, kind in rows)
    return Chart(title, bars, on_scale(tolerance), f"The line marks the tolerance, {error_text(tolerance)}")


def on_scale(error: float) -> float:
    """Return a relative error's share of the width: 0 for equal values, 1 for an error as large as the value itself."""
    if error <= FLOOR:
        return 0.0
    return min(1.0, math.log(error / FLOOR) / math.log(CEILING / FLOOR))


def error_text(error: float) -> str:
    """Return an error as text, with two significant digits."""
    if error == 0:
        return "0 (equal)"
    return f"{error:.2g}" if math.isfinite(error) else "not comparable"
