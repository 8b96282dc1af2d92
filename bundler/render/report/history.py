"""The report's section that compares the versions of a model: origin, accuracy, and size and latency of each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bundler.bundle.schema import VersionRecord
from bundler.render.report import charts
from bundler.render.report.charts import Chart, error_text
from bundler.render.texts import milliseconds_text, size_text

NONE = "–"


@dataclass(frozen=True)
class VersionView:
    """One row of the table of versions."""

    number: int
    created: str
    served: bool
    passed: bool | None
    error: str
    metric: str
    nodes: str
    transposes: str
    weights: str
    source: str


@dataclass(frozen=True)
class HistoryView:
    """All versions of a model.

    Attributes:
        versions: The versions, newest first.
        charts: Charts with one bar per version; empty if there is only one version.
        variants: Rows of (variant, version, size, latency, relative error, metric), grouped by variant; empty if there is only
            one version.
    """

    versions: tuple[VersionView, ...]
    charts: tuple[Chart, ...]
    variants: tuple[tuple[str, ...], ...]


def history_view(records: Mapping[int, VersionRecord], served: Sequence[int], order: Sequence[str]) -> HistoryView:
    """Return the view of all versions of a model.

    Args:
        records: The record of each version, by number.
        served: The versions that the bundle's settings serve.
        order: The names of all variants in the order in which the page shows them.
    """
    numbers = sorted(records, reverse=True)
    several = len(numbers) > 1
    versions = tuple(_version(number, records[number], number in served) for number in numbers)
    return HistoryView(
        versions, _charts(records, numbers) if several else (), _variants(records, numbers, order) if several else ()
    )


def _version(number: int, record: VersionRecord, served: bool) -> VersionView:
    error = _error(record)
    return VersionView(
        number,
        time_text(record),
        served,
        None if record.adopted else record.parity.passed,
        NONE if error is None else error_text(error),
        _metric(record),
        f"{record.graph.nodes:,}",
        str(record.graph.transposes),
        size_text(record.graph.weight_bytes),
        str(record.source.get("source", "unknown")),
    )


def _error(record: VersionRecord) -> float | None:
    """Return the SavedModel's largest relative error, or None if it was not compared."""
    return max((line.max_rel for line in record.parity.summary if line.runtime == "saved_model"), default=None)


def _metric(record: VersionRecord) -> str:
    """Return the evaluated metric of the SavedModel as text, if it is a single figure."""
    evaluation = record.evaluation
    if evaluation is None or not isinstance(evaluation.data, str) or "saved_model" not in evaluation.results:
        return NONE
    return f"{evaluation.metric} {evaluation.results['saved_model'][0]:.4f}"


def _charts(records: Mapping[int, VersionRecord], numbers: Sequence[int]) -> tuple[Chart, ...]:
    errors = [(f"version {n}", error, "plain") for n in numbers if (error := _error(records[n])) is not None]
    weights = [(n, records[n].graph.weight_bytes) for n in numbers]
    title = f"SavedModel's largest relative error (logarithmic scale, {charts.FLOOR:g} to {charts.CEILING:g})"
    tolerance = records[numbers[0]].parity.tolerance
    return (
        charts.errors(title, [(label, error, "plain") for label, error, _ in errors], tolerance),
        charts.linear(
            "Weights of the SavedModel", [(f"version {n}", float(size), size_text(size)) for n, size in weights]
        ),
    )


def _variants(
    records: Mapping[int, VersionRecord], numbers: Sequence[int], order: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    place = {name: index for index, name in enumerate(order)}
    names = sorted({name for n in numbers for name in records[n].tflite}, key=lambda name: (place.get(name, 99), name))
    return tuple((name, *_variant(records[n], n, name)) for name in names for n in numbers if name in records[n].tflite)


def _variant(record: VersionRecord, number: int, name: str) -> tuple[str, ...]:
    variant = record.tflite[name]
    threads = min(variant.latency_ms, default=None)
    return (
        str(number),
        size_text(variant.size_bytes),
        NONE if threads is None else milliseconds_text(variant.latency_ms[threads]),
        error_text(max(error.max_rel for error in variant.error)) if variant.error else NONE,
        f"{variant.evaluation.value:.4g}" if variant.evaluation else NONE,
    )


def time_text(record: VersionRecord) -> str:
    """Return the time at which a version was built, as text."""
    return record.created.strftime("%Y-%m-%d %H:%M %Z")
