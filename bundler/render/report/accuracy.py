"""The report's sections on the accuracy of the TFLite variants, on rejected variants, and on the fast path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bundler.bundle.schema import (
    AgreementRecord,
    FastPathRecord,
    JudgedRecord,
    MetricRecord,
    ParitySummaryRecord,
    RejectedFastPathRecord,
    RejectedRecord,
    VariantRecord,
)
from bundler.render.report import charts
from bundler.render.report.charts import Bar, Chart, Kind, error_text
from bundler.render.texts import milliseconds_text, size_text

LAYERS = 5
"""Number of layers that the page names for a rejected variant; bundle.json lists all."""
NONE = "–"


@dataclass(frozen=True)
class AccuracyView:
    """The accuracy of the TFLite variants.

    Attributes:
        charts: Metric and signal-to-quantization-noise ratio (SQNR), where measured.
        rows: Published variants as (variant, metric, SQNR, cosine, top-1, share of nodes in XNNPACK, float layers).
        rejected: Rejected variants as (variant, verdict, reason).
        layers: Rejected variants as (variant, sentences about the layers at fault).
    """

    charts: tuple[Chart, ...]
    rows: tuple[tuple[str, ...], ...]
    rejected: tuple[tuple[str, str, str], ...]
    layers: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class FastPathView:
    """The files that a server can load.

    Attributes:
        rows: Rows of (file, size, median latency with 1 thread, median latency with 2 threads, largest relative error, what it
            computes in, SQNR, share of nodes in XNNPACK).
        is_exact: Whether both files give the same answers, within the tolerance of float32.
        rejected: The verdict on a model.tflite in lower precision that is not published; empty otherwise.
    """

    rows: tuple[tuple[str, ...], ...]
    is_exact: bool = True
    rejected: str = ""


def accuracy_view(variants: Mapping[str, VariantRecord], rejected: Mapping[str, RejectedRecord]) -> AccuracyView | None:
    """Return the view of the variants' accuracy, or None if nothing is known beyond the largest error.

    A rejected variant that was measured appears in the charts next to the published ones.
    """
    judged: dict[str, JudgedRecord] = {**variants, **rejected}
    drawn = [chart for chart in (_metric_chart(judged, rejected), _sqnr_chart(judged, rejected)) if chart]
    has_details = any(variant.delegation or variant.float_layers for variant in variants.values())
    if not (drawn or rejected or has_details):
        return None
    return AccuracyView(
        tuple(drawn),
        tuple(_row(name, variant) for name, variant in variants.items()),
        tuple((name, _verdict(variant), variant.reason.partition("\n")[0]) for name, variant in rejected.items()),
        tuple((name, lines) for name, variant in rejected.items() if (lines := _layer_lines(variant))),
    )


def _metric_chart(judged: Mapping[str, JudgedRecord], rejected: Mapping[str, RejectedRecord]) -> Chart | None:
    """Return the chart of the evaluate function's metric, PyTorch first, with a line at the lowest value that passes."""
    metrics = {name: variant.evaluation for name, variant in judged.items() if variant.evaluation}
    if not metrics:
        return None
    first: MetricRecord = next(iter(metrics.values()))
    figures = {"PyTorch": first.pytorch, **{name: metric.value for name, metric in metrics.items()}}
    longest = max((abs(value) for value in figures.values()), default=0.0) or 1.0
    bars = tuple(
        Bar(name, f"{value:.4g}", max(0.0, value / longest), _kind(name, rejected, "quiet" if name == "PyTorch" else "good"))
        for name, value in figures.items()
    )
    mark = first.floor / longest
    text = f"The line marks the floor, {first.floor:.4g}"
    return Chart(f"{first.function} on labelled data", bars, mark if 0 <= mark <= 1 else None, text)


def _sqnr_chart(judged: Mapping[str, JudgedRecord], rejected: Mapping[str, RejectedRecord]) -> Chart | None:
    ratios = {name: ratio for name, variant in judged.items() if (ratio := _sqnr(variant)) is not None}
    if not ratios:
        return None
    rows = [(name, max(ratio, 0.0), f"{ratio:.1f} dB") for name, ratio in ratios.items()]
    kinds = [_kind(name, rejected, "plain") for name in ratios]
    return charts.linear("Signal-to-quantization-noise ratio against PyTorch, worst output (more is better)", rows, kinds)


def _kind(name: str, rejected: Mapping[str, RejectedRecord], published: Kind) -> Kind:
    return "bad" if name in rejected else published


def _outputs(variant: JudgedRecord) -> Sequence[AgreementRecord]:
    return list(variant.accuracy.outputs.values()) if variant.accuracy else []


def _sqnr(variant: JudgedRecord) -> float | None:
    return min((a.sqnr_db for a in _outputs(variant) if a.sqnr_db is not None), default=None)


def _row(name: str, variant: VariantRecord) -> tuple[str, ...]:
    sqnr = _sqnr(variant)
    cosine = min((a.cosine for a in _outputs(variant) if a.cosine is not None), default=None)
    top1 = min((a.top1 for a in _outputs(variant) if a.top1 is not None), default=None)
    return (
        name,
        f"{variant.evaluation.value:.4g}" if variant.evaluation else NONE,
        NONE if sqnr is None else f"{sqnr:.1f} dB",
        NONE if cosine is None else f"{cosine:.5f}",
        NONE if top1 is None else f"{top1:.1%}",
        f"{variant.delegation.share:.0%}" if variant.delegation else NONE,
        ", ".join(variant.float_layers) or NONE,
    )


def _verdict(variant: RejectedRecord) -> str:
    return "below its gate" if variant.below_gate else "not built"


def _layer_lines(variant: RejectedRecord) -> tuple[str, ...]:
    """Name the layers that lose the most accuracy, and the mix that would pass."""
    lines = [f"{loss.layer}: {loss.sqnr_db:.1f} dB when only this layer is int8" for loss in variant.layers[:LAYERS]]
    if variant.mix:
        lines.append(f"a mix passes if these layers stay in float: {', '.join(variant.mix)}")
    return tuple(lines)


def fast_path_view(
    fast_path: FastPathRecord | None,
    rejected: RejectedFastPathRecord | None,
    size_bytes: int,
    parity: Sequence[ParitySummaryRecord],
) -> FastPathView | None:
    """Return the comparison of the two files that a server can load, or None if no fast path was requested.

    Args:
        fast_path: The version's model.tflite, if it has one.
        rejected: The model.tflite that is not published, if there is one.
        size_bytes: The size of the version's folder, which contains both.
        parity: The comparisons of the version with PyTorch.
    """
    if rejected is not None:
        return FastPathView((), rejected=f"{rejected.form}, {_verdict(rejected)}: {rejected.reason.partition(chr(10))[0]}")
    if fast_path is None:
        return None
    latencies = [
        milliseconds_text(fast_path.latency_ms[n]) if n in fast_path.latency_ms else NONE for n in (1, 2)
    ]
    saved = ("saved_model.pb and variables", size_text(size_bytes - fast_path.size_bytes), NONE, NONE)
    lite = (fast_path.file, size_text(fast_path.size_bytes), *latencies, _error(parity, "tflite-fast-path"))
    sqnr = _sqnr(fast_path)
    share = f"{fast_path.delegation.share:.0%}" if fast_path.delegation else NONE
    rows = (
        (*lite, fast_path.form, NONE if sqnr is None else f"{sqnr:.1f} dB", share),
        (*saved, _error(parity, "saved_model"), NONE, NONE, NONE),
    )
    return FastPathView(rows, is_exact=fast_path.form == "float32")


def _error(parity: Sequence[ParitySummaryRecord], runtime: str) -> str:
    errors = [line.max_rel for line in parity if line.runtime == runtime]
    return error_text(max(errors)) if errors else "not compared"
