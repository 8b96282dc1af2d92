"""How accurate the TFLite variants are, which were refused, and the model.tflite that is served: views for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bundler.render.report import charts
from bundler.render.report.charts import Bar, Chart, Kind, error_text
from bundler.render.report.schema import (
    AgreementRecord,
    FastPathRecord,
    Judged,
    MetricRecord,
    RefusedRecord,
    SummaryRecord,
    VariantRecord,
)
from bundler.render.texts import milliseconds_text, size_text

LAYERS = 5
"""Layers named for a variant that was refused; bundle.json has all."""
NONE = "–"


@dataclass(frozen=True)
class AccuracyView:
    """Rows as (variant, metric, SQNR, cosine, top-1, XNNPACK's share, float layers); refused as (variant, verdict, reason).

    Attributes:
        layers: variant that was refused -> the layers at fault, in words.
    """

    charts: tuple[Chart, ...]
    rows: tuple[tuple[str, ...], ...]
    refused: tuple[tuple[str, str, str], ...]
    layers: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class FastPathView:
    """Rows as (form, size, median latency with 1 and with 2 threads, largest relative error)."""

    rows: tuple[tuple[str, ...], ...]


def accuracy_view(variants: Mapping[str, VariantRecord], refused: Mapping[str, RefusedRecord]) -> AccuracyView | None:
    """What is known of the accuracy; None where there is nothing beyond the largest error.

    A variant that is below its gate stands beside the others, if it was measured.
    """
    judged: dict[str, Judged] = {**variants, **refused}
    drawn = [chart for chart in (_metric_chart(judged, refused), _sqnr_chart(judged, refused)) if chart]
    named = any(v.delegation or v.float_layers for v in variants.values())
    if not (drawn or refused or named):
        return None
    return AccuracyView(
        tuple(drawn),
        tuple(_row(name, one) for name, one in variants.items()),
        tuple((name, _verdict(one), one.reason.partition("\n")[0]) for name, one in refused.items()),
        tuple((name, lines) for name, one in refused.items() if (lines := _layers(one))),
    )


def _metric_chart(judged: Mapping[str, Judged], refused: Mapping[str, RefusedRecord]) -> Chart | None:
    """The metric of the evaluate function, PyTorch's first, with a line at the floor."""
    found = {name: one.evaluation for name, one in judged.items() if one.evaluation}
    if not found:
        return None
    first: MetricRecord = next(iter(found.values()))
    figures = {"PyTorch": first.pytorch, **{name: metric.value for name, metric in found.items()}}
    longest = max((abs(value) for value in figures.values()), default=0.0) or 1.0
    bars = tuple(
        Bar(name, f"{value:.4g}", max(0.0, value / longest), _kind(name, refused, "quiet" if name == "PyTorch" else "good"))
        for name, value in figures.items()
    )
    mark = first.floor / longest
    text = f"The line is the floor, {first.floor:.4g}"
    return Chart(f"{first.function} on labelled data", bars, mark if 0 <= mark <= 1 else None, text)


def _sqnr_chart(judged: Mapping[str, Judged], refused: Mapping[str, RefusedRecord]) -> Chart | None:
    found = {name: value for name, one in judged.items() if (value := _sqnr(one)) is not None}
    if not found:
        return None
    rows = [(name, max(value, 0.0), f"{value:.1f} dB") for name, value in found.items()]
    kinds = [_kind(name, refused, "plain") for name in found]
    return charts.linear("Signal-to-quantization-noise ratio against PyTorch, worst output (more is better)", rows, kinds)


def _kind(name: str, refused: Mapping[str, RefusedRecord], otherwise: Kind) -> Kind:
    return "bad" if name in refused else otherwise


def _outputs(one: Judged) -> Sequence[AgreementRecord]:
    return list(one.accuracy.outputs.values()) if one.accuracy else []


def _sqnr(one: Judged) -> float | None:
    return min((a.sqnr_db for a in _outputs(one) if a.sqnr_db is not None), default=None)


def _row(name: str, one: VariantRecord) -> tuple[str, ...]:
    sqnr = _sqnr(one)
    cosine = min((a.cosine for a in _outputs(one) if a.cosine is not None), default=None)
    top1 = min((a.top1 for a in _outputs(one) if a.top1 is not None), default=None)
    return (
        name,
        f"{one.evaluation.value:.4g}" if one.evaluation else NONE,
        NONE if sqnr is None else f"{sqnr:.1f} dB",
        NONE if cosine is None else f"{cosine:.5f}",
        NONE if top1 is None else f"{top1:.1%}",
        f"{one.delegation.share:.0%}" if one.delegation else NONE,
        ", ".join(one.float_layers) or NONE,
    )


def _verdict(one: RefusedRecord) -> str:
    return "below its gate" if one.below_gate else "not made"


def _layers(one: RefusedRecord) -> tuple[str, ...]:
    """The layers that lose most, and the mix that would pass."""
    lines = [f"{loss.layer}: {loss.sqnr_db:.1f} dB when it alone is int8" for loss in one.layers[:LAYERS]]
    if one.mix:
        lines.append(f"a mix passes with these layers float: {', '.join(one.mix)}")
    return tuple(lines)


def fast_path_view(fast_path: FastPathRecord | None, size_bytes: int, parity: Sequence[SummaryRecord]) -> FastPathView | None:
    """The two forms that a server can load, beside each other.

    Args:
        size_bytes: of the version's folder, with both.
    """
    if fast_path is None:
        return None
    latencies = [
        milliseconds_text(fast_path.latency_ms[n]) if n in fast_path.latency_ms else NONE for n in (1, 2)
    ]
    saved = ("saved_model.pb and variables", size_text(size_bytes - fast_path.size_bytes), NONE, NONE)
    lite = (fast_path.file, size_text(fast_path.size_bytes), *latencies)
    return FastPathView(((*lite, _error(parity, "tflite-fast-path")), (*saved, _error(parity, "saved_model"))))


def _error(parity: Sequence[SummaryRecord], runtime: str) -> str:
    errors = [line.max_rel for line in parity if line.runtime == runtime]
    return error_text(max(errors)) if errors else "not compared"
