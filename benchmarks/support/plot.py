"""Draws the results of the benchmarks that compare converters and runtimes: one group of bars per model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONVERTER_COLOURS = {"tfbundle": "#1b6ac9", "onnx-tf": "#d98324", "onnx2tf": "#9a9a9a", "ONNX Runtime": "#3d3d3d"}
RUNTIME_COLOURS = (
    "#3d3d3d", "#c9a227", "#d98324", "#b5532a", "#1b6ac9", "#4a90d9", "#8dbbe8", "#2a9d8f", "#7bcfb9",
)  # fmt: skip

Bars = Mapping[str, Mapping[str, float | None]]
"""Model -> contender -> figure, or None for a gap."""


def draw_converters(latency_ms: Bars, seconds: Bars, file: Path) -> None:
    """Write an SVG file with the latency of SavedModels at batch 1 and the seconds of their conversion."""
    figure = _figure(12, 7)
    upper, lower = figure.subplots(2, 1)
    _draw(upper, latency_ms, CONVERTER_COLOURS)
    upper.set_ylabel("latency, ms, batch 1")
    upper.legend(ncols=len(CONVERTER_COLOURS), frameon=False, loc="upper left")
    _draw(lower, seconds, CONVERTER_COLOURS)
    lower.set_ylabel("conversion, s")
    figure.savefig(file, metadata={"Date": None})


def draw_throughput(rates: Bars, file: Path) -> None:
    """Write an SVG file with the calls per second of every form in every runtime."""
    figure = _figure(16, 6)
    axes = figure.subplots()
    _draw(axes, rates, dict(zip(next(iter(rates.values())), RUNTIME_COLOURS, strict=False)))
    axes.set_ylabel("calls/s, batch 1, both cores busy")
    axes.legend(ncols=5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    figure.savefig(file, metadata={"Date": None})


def _figure(width: float, height: float) -> Any:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "tfbundle"  # so that the same figures give the same file
    return Figure(figsize=(width, height), layout="constrained")


def _draw(axes: Any, figures: Bars, colours: Mapping[str, str]) -> None:
    names = [name for name in colours if any(name in known for known in figures.values())]
    width = 0.85 / len(names)
    for position, name in enumerate(names):
        heights = {index: known.get(name) for index, known in enumerate(figures.values())}
        drawn = {index: height for index, height in heights.items() if height is not None}
        centres = [index + (position - (len(names) - 1) / 2) * width for index in drawn]
        bars = axes.bar(centres, list(drawn.values()), width, label=name, color=colours[name])
        axes.bar_label(bars, fmt=_text, fontsize=7, padding=1, rotation=90 if len(names) > 4 else 0)
    axes.set_xticks(range(len(figures)), [name.replace("_", "\n") for name in figures])
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
