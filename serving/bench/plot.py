"""Plots of latency over throughput: of a load test, with a line per server, or of choices, with their Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.bench.load import LoadFigures
from serving.errors import TargetError
from serving.extras import require
from serving.texts import plural

FORMATS = (".svg", ".png", ".pdf")


def draw(results: Sequence[LoadFigures], file: Path) -> None:
    """Draw latency over throughput.

    Args:
        results: figures of at least one server and load.
        file: where to write the image; its suffix chooses the format.

    Raises:
        TargetError: the suffix is not .svg, .png or .pdf.
        MissingExtraError: matplotlib is not installed.
    """
    with figure(file) as (axes,):
        for name, line in _lines(results).items():
            _line(axes, name, line)
        axes.set(xlabel="rows per second", ylabel="latency, ms", yscale="log", title=results[0].model)
        axes.legend(frameon=False, title="line: median; band: up to the 99th percentile")


@dataclass(frozen=True)
class Choice:
    """One point of a plot of choices.

    Attributes:
        group: what points of one colour have in common.
        label: the text that explains the point, which then has a number; empty for none.
        per_second: requests per second of all clients.
        ms: latency of a lone client.
        is_front: whether the point is on the Pareto front of the two.
    """

    group: str
    label: str
    per_second: float
    ms: float
    is_front: bool = False


def draw_choices(choices: Sequence[Choice], title: str, file: Path) -> None:
    """Draw choices and their Pareto front.

    Args:
        choices: at least one point.
        title: the heading.
        file: where to write the image; its suffix chooses the format.

    Raises:
        TargetError: the suffix is not .svg, .png or .pdf.
        MissingExtraError: matplotlib is not installed.
    """
    with figure(file) as (axes,):
        front = sorted((choice for choice in choices if choice.is_front), key=lambda choice: choice.per_second)
        axes.plot([each.per_second for each in front], [each.ms for each in front], color="0.7", zorder=0, label="Pareto front")
        for group in dict.fromkeys(choice.group for choice in choices):
            own = [choice for choice in choices if choice.group == group]
            axes.scatter([each.per_second for each in own], [each.ms for each in own], label=group)
        for number, choice in enumerate((choice for choice in choices if choice.label), start=1):
            place = (choice.per_second, choice.ms)
            axes.annotate(str(number), place, xytext=(4, 4), textcoords="offset points", fontsize=9)
            axes.plot([], [], linestyle="none", label=f"{number}: {choice.label}")
        axes.set_title(title)
        axes.set(xlabel="requests per second, all clients", ylabel="latency of a lone client, ms (median)", yscale="log")
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter("{x:g}")
        axes.margins(0.12)
        axes.figure.legend(frameon=False, fontsize=7, loc="outside lower left", ncols=2)


def check_format(file: Path) -> None:
    """Raise if a plot cannot be written to a file, for the want of a known suffix or of matplotlib.

    Raises:
        TargetError: the suffix is not .svg, .png or .pdf.
        MissingExtraError: matplotlib is not installed.
    """
    if file.suffix not in FORMATS:
        fix = f"give a name that ends with one of {', '.join(FORMATS)}"
        raise TargetError(f"A plot cannot be written as {file.name!r}.", fix=fix, code="TFB1002")
    require("plots", "A plot")


@contextmanager
def figure(file: Path, columns: int = 1) -> Iterator[list[Any]]:
    """Yield empty axes side by side, and write what was drawn on them to the file.

    Args:
        file: where to write the image; its suffix chooses the format.
        columns: the number of axes.

    Raises:
        TargetError: the suffix is not .svg, .png or .pdf.
        MissingExtraError: matplotlib is not installed.
    """
    check_format(file)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "tfbundle"  # makes the file the same for the same figures
    drawn = Figure(figsize=(8 if columns == 1 else 6 * columns, 5), layout="constrained")
    plots = list(drawn.subplots(1, columns, squeeze=False)[0])
    yield plots
    for axes in plots:
        axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


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
