"""The curve of a load test: latency over throughput, a line for each server and size of request, a point for each load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.bench.load import LoadFigures
from serving.errors import TargetError

FORMATS = (".svg", ".png", ".pdf")


def draw(results: Sequence[LoadFigures], file: Path) -> None:
    """Write the picture; what kind it is, the file's name tells.

    Raises:
        TargetError: another kind of file than .svg, .png or .pdf, or matplotlib is not installed.
    """
    if file.suffix not in FORMATS:
        raise TargetError(f"A curve cannot be written as {file.name!r}.", fix=f"end its name with {', '.join(FORMATS)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise TargetError(
            "The curve is drawn by matplotlib, which is not installed.", fix="pip install 'tfbundle[plots]'"
        ) from exc
    mpl.rcParams["svg.hashsalt"] = "tfbundle"  # the same figures give the same file
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, line in _lines(results).items():
        _line(axes, name, line)
    axes.set(xlabel="rows answered a second", ylabel="latency, ms", yscale="log", title=results[0].model)
    axes.legend(frameon=False, title="the line is the median, the band reaches to the 99th percentile")
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _lines(results: Sequence[LoadFigures]) -> dict[str, list[LoadFigures]]:
    """Figures with the same server and rows, in the order of their clients."""
    lines: dict[str, list[LoadFigures]] = {}
    for figures in sorted(results, key=lambda one: one.concurrency):
        if figures.requests:
            rows = f"{figures.rows} row{'s' if figures.rows > 1 else ''} a request"
            lines.setdefault(f"{figures.target}, {rows}", []).append(figures)
    return lines


def _line(axes: Any, name: str, line: Sequence[LoadFigures]) -> None:
    rows = [figures.per_second * figures.rows for figures in line]
    median, slow = [figures.p50_ms for figures in line], [figures.p99_ms for figures in line]
    (drawn,) = axes.plot(rows, median, marker="o", label=name)
    axes.fill_between(rows, median, slow, alpha=0.15, color=drawn.get_color())
    for figures, x, y in zip(line, rows, median, strict=True):
        axes.annotate(str(figures.concurrency), (x, y), xytext=(0, 6), textcoords="offset points", fontsize=8)
