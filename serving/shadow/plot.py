"""Picture of a comparison: how long both versions take, and how far their answers differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from serving.bench.plot import figure
from serving.protocol.tensors import Array
from serving.shadow.report import ShadowReport, share_text

_POINTS = 500
"""Points of a curve, so that the file of a long comparison stays small."""

_LEAST = 1e-9
"""Relative differences below this, zero among them, are drawn here: float32 has seven digits."""


def draw(report: ShadowReport, file: Path) -> None:
    """Draw the share of answers by latency, and the share of requests by their largest relative difference.

    Args:
        report: the comparison.
        file: where to write the image; its suffix chooses the format.

    Raises:
        TargetError: the suffix is not .svg, .png or .pdf.
        MissingExtraError: matplotlib is not installed.
    """
    with figure(file, 2) as (latency, difference):
        _draw_latency(latency, report)
        _draw_difference(difference, report)


def _draw_latency(axes: Any, report: ShadowReport) -> None:
    for name, side in zip(report.names, report.tally.sides, strict=True):
        if side.seconds:
            shares, values = _curve(np.array(side.seconds) * 1e3)
            axes.plot(values, shares, label=name)
    ratio = report.latency_ratio()
    axes.set_title(f"{report.model}: latency" + (f", median {ratio:.3g} times" if ratio else ""))
    axes.set(xlabel="latency, ms", ylabel="share of answers that took no longer", ylim=(0, 1.02))
    if ratio:
        axes.set_xscale("log")
        for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatter("{x:g}")
        axes.legend(frameon=False)


def _draw_difference(axes: Any, report: ShadowReport) -> None:
    tally = report.tally
    largest = np.array(tally.largest, np.float64)
    if largest.size:
        # Infinite differences (other texts, shapes or integers) stand at the right edge.
        finite = largest[np.isfinite(largest)]
        edge = 10 * max(float(finite.max(initial=0.0)), tally.tolerance, _LEAST)
        shares, values = _curve(np.clip(np.where(np.isfinite(largest), largest, edge), _LEAST, None))
        axes.plot(values, shares, color="C3")
        axes.set_xscale("log")
    axes.axvline(max(tally.tolerance, _LEAST), color="0.6", linestyle=":", label="tolerance")
    share = report.disagreement
    axes.set_title("largest difference per request" + ("" if share is None else f"; {share_text(share)} of requests differ"))
    axes.set(xlabel="relative difference", ylabel="share of requests that differ no more", ylim=(0, 1.02))
    axes.legend(frameon=False)


def _curve(values: Array) -> tuple[Array, Array]:
    """Return shares from 0 to 1 and the values that these shares of all values do not exceed."""
    shares = np.linspace(0, 1, min(_POINTS, values.size + 1))
    return shares, np.quantile(values, shares, method="inverted_cdf")
