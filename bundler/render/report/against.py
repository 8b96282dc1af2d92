"""The report's section that shows a version beside the one that was in service when it was built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bundler.bundle.schema import AgainstRecord, PairRecord
from bundler.render.report import charts
from bundler.render.report.charts import Chart, Kind
from bundler.render.texts import milliseconds_text, size_text
from serving.texts import plural

NONE = "–"


@dataclass(frozen=True)
class AgainstView:
    """The comparison with the version in service.

    Attributes:
        title: Which version that was.
        passed: Whether every bound was kept.
        charts: A pair of bars for each figure, and the share of rows that both versions answer alike.
        rows: Rows of (figure, version in service, this version, bound, verdict).
        columns: The heads of these columns.
        complaints: Which bounds were broken.
    """

    title: str
    passed: bool
    charts: tuple[Chart, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]
    complaints: tuple[str, ...]


def against_view(record: AgainstRecord | None, version: int) -> AgainstView | None:
    """Return the view of a comparison, or None if there was none.

    Args:
        record: The comparison.
        version: The new version.
    """
    if record is None:
        return None
    before = f"version {record.version}" + (f" ({record.label})" if record.label else "")
    names = (before, f"version {version}")
    rows = tuple(
        (line.name, line.before or NONE, line.after, line.bound or NONE, _verdict(line.kept)) for line in record.lines
    )
    return AgainstView(
        before, record.passed, tuple(_charts(record, names)), rows, ("Figure", *names, "Bound", "Verdict"), record.complaints
    )


def _verdict(kept: bool | None) -> str:
    return {None: NONE, True: "kept", False: "broken"}[kept]


def _charts(record: AgainstRecord, names: tuple[str, str]) -> Iterator[Chart]:
    if record.metric:
        yield _pair(f"Metric of {record.function}", record.metric, names, lambda value: f"{value:.4f}")
    if record.latency_ms:
        yield _pair("Median latency of a lone client", record.latency_ms, names, milliseconds_text)
    yield _pair("Size on disk", record.size_bytes, names, lambda value: size_text(int(value)))
    for kind, shared in record.agreement.items():
        title = f"Share of {plural(shared.rows, f'{kind} row')} that both versions answer alike"
        kinds: list[Kind] = [_kind(share, shared.bound) for share in shared.outputs.values()]
        bars = [
            charts.Bar(output, f"{share:.1%}", share, colour)
            for (output, share), colour in zip(shared.outputs.items(), kinds, strict=True)
        ]
        mark = f"The line marks the bound, {shared.bound:.1%}" if shared.bound is not None else ""
        yield Chart(title, tuple(bars), shared.bound, mark)


def _kind(share: float, bound: float | None) -> Kind:
    if bound is None:
        return "plain"
    return "good" if share >= bound else "bad"


def _pair(title: str, figures: PairRecord, names: tuple[str, str], text: charts.Text) -> Chart:
    rows = [(name, value, text(value)) for name, value in zip(names, (figures.before, figures.after), strict=True)]
    return charts.linear(title, rows, ("quiet", "plain"))
