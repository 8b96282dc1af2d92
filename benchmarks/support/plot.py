"""Draws the results of benchmarks.converters: latency at batch 1 and seconds of the conversion, one group of bars per model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.support.results import Results

COLOURS = {"tfbundle": "#1b6ac9", "onnx-tf": "#d98324", "onnx2tf": "#9a9a9a", "ONNX Runtime": "#3d3d3d"}


def draw(results: Mapping[str, Results], file: Path) -> None:
    """Write an SVG file. A converter that fails on a model leaves a gap."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "tfbundle"  # so that the same figures give the same file
    figure = Figure(figsize=(12, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    _bars(upper, results, tuple(COLOURS), lambda result, name: result.median(name))
    upper.set_ylabel("latency, ms, batch 1")
    upper.legend(ncols=len(COLOURS), frameon=False, loc="upper left")
    _bars(lower, results, ("tfbundle", "onnx-tf", "onnx2tf"), lambda result, name: result.seconds.get(name))
    lower.set_ylabel("conversion, s")
    figure.savefig(file, metadata={"Date": None})


def _bars(
    axes: Any, results: Mapping[str, Results], names: tuple[str, ...], value: Callable[[Results, str], float | None]
) -> None:
    width = 0.8 / len(names)
    for position, name in enumerate(names):
        heights = {index: value(result, name) for index, result in enumerate(results.values())}
        known = {index: height for index, height in heights.items() if height is not None}
        centres = [index + (position - (len(names) - 1) / 2) * width for index in known]
        bars = axes.bar(centres, list(known.values()), width, label=name, color=COLOURS[name])
        axes.bar_label(bars, fmt="%.3g", fontsize=7, padding=1)
    axes.set_xticks(range(len(results)), [name.replace("_", "\n") for name in results])
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
