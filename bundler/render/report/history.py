"""The versions of a model beside each other: what was built, how good it is, and what each variant weighs and takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bundler.render.report import charts
from bundler.render.report.charts import Chart, error_text
from bundler.render.report.schema import Version
from bundler.render.texts import milliseconds_text, size_text

NONE = "–"


@dataclass(frozen=True)
class VersionView:
    """One line of the list of versions."""

    number: int
    created: str
    served: bool
    passed: bool
    error: str
    metric: str
    nodes: str
    transposes: str
    weights: str
    source: str


@dataclass(frozen=True)
class HistoryView:
    """All versions, newest first.

    Attributes:
        charts: of several versions, a bar each; empty for one alone.
        variants: (variant, version, size, latency, relative error, metric), by variant; of several versions with variants.
    """

    versions: tuple[VersionView, ...]
    charts: tuple[Chart, ...]
    variants: tuple[tuple[str, ...], ...]


def history_view(records: Mapping[int, Version], served: Sequence[int], order: Sequence[str]) -> HistoryView:
    """What is said of all versions of a model.

    Args:
        order: in which variants follow each other.
    """
    numbers = sorted(records, reverse=True)
    several = len(numbers) > 1
    versions = tuple(_version(number, records[number], number in served) for number in numbers)
    return HistoryView(
        versions, _charts(records, numbers) if several else (), _variants(records, numbers, order) if several else ()
    )


def _version(number: int, record: Version, served: bool) -> VersionView:
    error = _error(record)
    return VersionView(
        number,
        time_text(record),
        served,
        record.parity.passed,
        NONE if error is None else error_text(error),
        _metric(record),
        f"{record.graph.nodes:,}",
        str(record.graph.transposes),
        size_text(record.graph.weight_bytes),
        str(record.source.get("source", "unknown")),
    )


def _error(record: Version) -> float | None:
    """The SavedModel's largest relative error."""
    return max((line.max_rel for line in record.parity.summary if line.runtime == "saved_model"), default=None)


def _metric(record: Version) -> str:
    """The one figure that was measured of the SavedModel, with its name."""
    measured = record.evaluation
    if measured is None or not isinstance(measured.data, str) or "saved_model" not in measured.results:
        return NONE
    return f"{measured.metric} {measured.results['saved_model'][0]:.4f}"


def _charts(records: Mapping[int, Version], numbers: Sequence[int]) -> tuple[Chart, ...]:
    errors = [(f"version {n}", error, "plain") for n in numbers if (error := _error(records[n])) is not None]
    weights = [(n, records[n].graph.weight_bytes) for n in numbers]
    title = f"SavedModel's largest relative error, logarithmic from {charts.FLOOR:g} to {charts.CEILING:g}"
    tolerance = records[numbers[0]].parity.tolerance
    return (
        charts.errors(title, [(label, error, "plain") for label, error, _ in errors], tolerance),
        charts.linear(
            "Weights of the SavedModel", [(f"version {n}", float(size), size_text(size)) for n, size in weights]
        ),
    )


def _variants(
    records: Mapping[int, Version], numbers: Sequence[int], order: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    place = {name: index for index, name in enumerate(order)}
    names = sorted({name for n in numbers for name in records[n].tflite}, key=lambda name: (place.get(name, 99), name))
    return tuple((name, *_variant(records[n], n, name)) for name in names for n in numbers if name in records[n].tflite)


def _variant(record: Version, number: int, name: str) -> tuple[str, ...]:
    one = record.tflite[name]
    threads = min(one.latency_ms, default=None)
    return (
        str(number),
        size_text(one.size_bytes),
        NONE if threads is None else milliseconds_text(one.latency_ms[threads]),
        error_text(max(error.max_rel for error in one.error)) if one.error else NONE,
        f"{one.evaluation.value:.4g}" if one.evaluation else NONE,
    )


def time_text(record: Version) -> str:
    """When a version was built."""
    return record.created.strftime("%Y-%m-%d %H:%M %Z")
