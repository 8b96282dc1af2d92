"""Plot of a load test: latency over throughput, one line per server and request size, one point per load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.bench.load import LoadFigures
from serving.errors import TargetError
from serving.texts import plural

FORMATS = (".svg", ".png", ".pdf")


def draw(results: Sequence[LoadFigures], file: Path) -> None:
    """Draw latency over throughput.

    Args:
        results: figures of at least one server and load.
        file: where to write the image; its suffix chooses the format.

    Raises:
        TargetError: the suffix is not .svg, .png or .pdf, or matplotlib is not installed.
    """
    if file.suffix not in FORMATS:
        fix = f"give a name that ends with one of {', '.join(FORMATS)}"
        raise TargetError(f"A plot cannot be written as {file.name!r}.", fix=fix, code="TFB1002")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise TargetError(
            "A plot needs matplotlib, which is not installed.", fix="pip install 'tfbundle[plots]'", code="TFB8001"
        ) from exc
    mpl.rcParams["svg.hashsalt"] = "tfbundle"  # makes the file the same for the same figures
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, line in _lines(results).items():
        _line(axes, name, line)
    axes.set(xlabel="rows per second", ylabel="latency, ms", yscale="log", title=results[0].model)
    axes.legend(frameon=False, title="line: median; band: up to the 99th percentile")
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _lines(results: Sequence[LoadFigures]) -> dict[str, list[LoadFigures]]:
    """Return the figures by server and rows per request, in ascending order of their clients; failed loads are left out."""
    lines: dict[str, list[LoadFigures]] = {}
    for figures in sorted(results, key=lambda figures: figures.concurrency):
        if figures.requests:
            rows = f"{plural(figures.rows, 'row')} per request"
            lines.setdefault(f"{figures.target}, {rows}", []).append(figures)
    return lines


def _line(axes: Any, name: str, line: Sequence[LoadFigures]) -> None:
    rows = [figures.per_second * figures.rows for figures in line]
    median, slow = [figures.p50_ms for figures in line], [figures.p99_ms for figures in line]
    (drawn,) = axes.plot(rows, median, marker="o", label=name)
    axes.fill_between(rows, median, slow, alpha=0.15, color=drawn.get_color())
    for figures, x, y in zip(line, rows, median, strict=True):
        axes.annotate(str(figures.concurrency), (x, y), xytext=(0, 6), textcoords="offset points", fontsize=8)
