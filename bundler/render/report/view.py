"""The content of the page, computed from a model's records: rows of text, and charts. The template does no arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import TypeVar

from bundler.bundle.schema import (
    DeviationRecord,
    EvaluationRecord,
    ModelRecord,
    SignatureRecord,
    TensorRecord,
    VariantRecord,
    VersionRecord,
)
from bundler.render import RenderedModel
from bundler.render.report import charts
from bundler.render.report.accuracy import AccuracyView, FastPathView, accuracy_view, fast_path_view
from bundler.render.report.against import AgainstView, against_view
from bundler.render.report.charts import Chart, Kind, error_text
from bundler.render.report.choice import ChoiceView, choice_view
from bundler.render.report.graph import GraphView, graph_view
from bundler.render.report.history import HistoryView, history_view, time_text
from bundler.render.report.precision import PrecisionView, precision_view
from bundler.render.texts import milliseconds_text, size_text
from bundler.values.fixed_dims import FixedDims
from serving.texts import plural

T = TypeVar("T")

RUNTIMES = {
    "onnxruntime": "ONNX Runtime", "saved_model": "SavedModel", "saved_model-bfloat16": "SavedModel bfloat16",
    "pytorch": "PyTorch",
}  # fmt: skip

ORDER = (
    "load", "export", "convert", "pytorch", "saved_model", "precision", "tflite", "fast_path", "parity", "evaluate",
    "compare", "onnxruntime",
    "float32", "float16", "dynamic", "int8", "int8-full", "int8-io", "int16x8", "int4", "mix",
)  # fmt: skip
"""The order of stages, runtimes and variants on the page; bundle.json sorts its keys by name."""

ERROR_TITLE = f"Largest relative error against PyTorch (logarithmic scale, {charts.FLOOR:g} to {charts.CEILING:g})"

_VERDICTS: dict[str, Kind] = {"passed": "good", "FAILED": "bad", "reported": "quiet"}


@dataclass(frozen=True)
class SignatureView:
    """A signature, with inputs and outputs as (name, dtype, dims)."""

    name: str
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ParityView:
    """The comparison with PyTorch.

    Attributes:
        passed: Whether all gated comparisons passed; None for an adopted version, which is not compared.
        tolerance: The largest relative error allowed, as text, with the reason for this value.
        chart: The largest relative errors.
        rows: Rows of (runtime, signature, output, number of draws, absolute error, relative error, worst draw, verdict).
        draws: Rows of (runtime, signature, draw, output, absolute error, relative error, verdict).
        reference: What computed the reference outputs.
        left_out: Sentences about what was not compared.
        runtime_notes: Sentences on ONNX Runtime, where it could not confirm the reference.
    """

    passed: bool | None
    tolerance: str
    chart: Chart
    rows: tuple[tuple[str, ...], ...]
    draws: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]
    reference: str
    runtime_notes: tuple[str, ...]


@dataclass(frozen=True)
class TfliteView:
    """The TFLite variants.

    Attributes:
        sizes: The chart of file sizes.
        latencies: The chart of median latencies.
        errors: The chart of relative errors.
        rows: Rows of (variant, size, latency, absolute error, relative error, worst output and draw, number of operators,
            number of operators that compute in float).
        notes: Pairs of (variant, note).
    """

    sizes: Chart
    latencies: Chart
    errors: Chart
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class EvaluationView:
    """The results of an evaluate function.

    They are shown as a chart if there is one figure per runtime, and as a table (`columns`, `rows`) if there is one figure per
    runtime and entry of the data.
    """

    metric: str
    samples: int
    chart: Chart | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ModelView:
    """Everything the page shows of a model. Figures are those of the latest version."""

    name: str
    version: int
    build_time: str
    facts: tuple[tuple[str, str], ...]
    signatures: tuple[SignatureView, ...]
    parity: ParityView
    tflite: TfliteView | None
    accuracy: AccuracyView | None
    precision: PrecisionView | None
    choice: ChoiceView | None
    fast_path: FastPathView | None
    evaluation: EvaluationView | None
    against: AgainstView | None
    graph: GraphView
    stages: Chart
    history: HistoryView
    arguments: str


def model_view(model: RenderedModel, records: ModelRecord, served: Sequence[int]) -> ModelView:
    """Return everything the page shows of `model`; `served` lists the versions that the bundle's settings serve."""
    record = records.versions[model.latest]
    names = sorted(record.signatures, key=lambda name: (name != "serving_default", name))
    return ModelView(
        model.name,
        model.latest,
        f"{sum(record.stages.values()):.1f} s" if record.stages else "not recorded",
        _facts(model, record),
        tuple(_signature(name, record.signatures[name]) for name in names),
        _parity(record),
        _tflite(_ordered(record.tflite), record.parity.tolerance) if record.tflite else None,
        accuracy_view(_ordered(record.tflite), _ordered(record.tflite_refused)),
        precision_view(record.precision, record.mixed_precision),
        choice_view(record.choice),
        fast_path_view(record.fast_path, record.fast_path_refused, model.size_bytes, record.parity.summary),
        _evaluation(record.evaluation) if record.evaluation else None,
        against_view(record.against, model.latest),
        graph_view(record.graph, model.size_bytes, _ordered(record.tflite), record.fast_path),
        _stages(_ordered(record.stages)),
        history_view(records.versions, served, ORDER),
        _arguments([spec.name for spec in record.signatures[names[0]].inputs]),
    )


def _arguments(inputs: Sequence[str]) -> str:
    """Return the inputs as arguments of `Client.predict`: keywords, or a dict if a name cannot be one."""
    taken = ("version", "label", "signature", "timeout")  # the method's own parameters
    if all(name.isidentifier() and not iskeyword(name) and name not in taken for name in inputs):
        return ", ".join(f"{name}={name}" for name in inputs)
    return "{" + ", ".join(f"{name!r}: input_{number}" for number, name in enumerate(inputs)) + "}"


def _ordered(values: Mapping[str, T]) -> dict[str, T]:
    place = {name: index for index, name in enumerate(ORDER)}
    return dict(sorted(values.items(), key=lambda item: (place.get(item[0], len(place)), item[0])))


def _facts(model: RenderedModel, record: VersionRecord) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Source", str(record.source.get("source", "unknown"))),
        ("Built", time_text(record)),
        *([] if record.adopted else [("Converter", f"{record.converter}, ONNX opset {record.opset}, layout {record.layout}")]),
        ("SavedModel", f"{size_text(model.size_bytes)}, weights {size_text(record.graph.weight_bytes)}"),
    ]
    if record.fixed_dims is not None and record.fixed_dims.dims:
        facts.append(("Fixed dims", FixedDims.from_json(record.fixed_dims.model_dump()).explained()))
    facts += [(_words(key), _fact(value)) for key, value in record.source.items() if key != "source"]
    return tuple(facts)


def _words(key: str) -> str:
    return {"sha256": "SHA-256", "tflite": "TFLite", **RUNTIMES}.get(key) or key.replace("_", " ").capitalize()


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_fact(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_fact(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _signature(name: str, signature: SignatureRecord) -> SignatureView:
    return SignatureView(name, _tensors(signature.inputs), _tensors(signature.outputs))


def _tensors(specs: Sequence[TensorRecord]) -> tuple[tuple[str, str, str], ...]:
    return tuple((s.name, s.dtype, ", ".join("?" if d is None else str(d) for d in s.dims) or "scalar") for s in specs)


def _parity(record: VersionRecord) -> ParityView:
    parity = record.parity
    passed = None if record.adopted else parity.passed
    several = len({line.signature for line in parity.summary}) > 1
    bars = [
        (f"{_runtime(line.runtime)}: {line.output}" + (f" ({line.signature})" if several else ""), line.max_rel,
         _VERDICTS[line.verdict])
        for line in parity.summary
    ]  # fmt: skip
    rows = tuple(
        (_runtime(s.runtime), s.signature, s.output, str(s.draws), error_text(s.max_abs), error_text(s.max_rel),
         s.worst_draw, s.verdict)
        for s in parity.summary
    )  # fmt: skip
    draws = tuple(
        (_runtime(r.runtime), r.signature, r.draw, r.output, r.problem or error_text(r.max_abs), error_text(r.max_rel),
         ("passed" if r.passed else "FAILED") if r.gated else "reported")
        for r in parity.results
    )  # fmt: skip
    chart = charts.errors(ERROR_TITLE, bars, parity.tolerance)
    left_out = tuple(line for line in parity.left_out if line not in parity.runtime_notes)
    tolerance = error_text(parity.tolerance) + (f" ({parity.tolerance_basis})" if parity.tolerance_basis else "")
    return ParityView(passed, tolerance, chart, rows, draws, left_out, parity.reference, parity.runtime_notes)


def _runtime(name: str) -> str:
    return RUNTIMES.get(name) or name.replace("tflite-", "TFLite ")


def _tflite(variants: Mapping[str, VariantRecord], tolerance: float) -> TfliteView:
    latencies = [
        (f"{name}, {plural(count, 'thread')}", value, milliseconds_text(value))
        for name, variant in variants.items()
        for count, value in sorted(variant.latency_ms.items())
    ]
    worst = {name: _worst(variant.error) for name, variant in variants.items() if variant.error}
    sizes = [(name, float(v.size_bytes), size_text(v.size_bytes)) for name, v in variants.items()]
    return TfliteView(
        charts.linear("File size", sizes),
        charts.linear("Median latency per call on the build machine", latencies),
        charts.errors(
            ERROR_TITLE,
            [(name, error.max_rel, "plain") for name, error in worst.items()],
            tolerance,
        ),
        tuple(_variant_row(name, variant, worst.get(name)) for name, variant in variants.items()),
        tuple((name, note) for name, variant in variants.items() for note in _notes(variant)),
    )


def _worst(errors: Sequence[DeviationRecord]) -> DeviationRecord:
    return max(errors, key=lambda error: error.max_rel)


def _variant_row(name: str, variant: VariantRecord, worst: DeviationRecord | None) -> tuple[str, ...]:
    if worst is None:
        counts = (str(sum(variant.operators.values())), str(sum(variant.float_operators.values())))
        return (name, size_text(variant.size_bytes), "not measured", "", "", "", *counts)
    latency = ", ".join(f"{milliseconds_text(ms)} ({count})" for count, ms in sorted(variant.latency_ms.items()))
    return (
        name,
        size_text(variant.size_bytes),
        latency,
        worst.problem or error_text(worst.max_abs),
        error_text(worst.max_rel),
        f"{worst.output}, {worst.draw}",
        str(sum(variant.operators.values())),
        str(sum(variant.float_operators.values())),
    )


_NOT_SHOWN = ("inputs", "sha256", "files", "files_sha256")
"""The keys of a record of calibration data that the report leaves out."""


def _notes(variant: VariantRecord) -> list[str]:
    known = {key: value for key, value in (variant.calibration or {}).items() if key not in _NOT_SHOWN}
    calibration = "; ".join(f"{key} {_fact(value)}" for key, value in known.items())
    return [*([f"calibration: {calibration}"] if calibration else []), *variant.notes]


def _evaluation(evaluation: EvaluationRecord) -> EvaluationView:
    results = {_runtime(name): figures for name, figures in _ordered(evaluation.results).items()}
    if isinstance(evaluation.data, str):
        rows = [(name, figures[0], f"{figures[0]:.4f}") for name, figures in results.items()]
        noun = "sample" if evaluation.samples == 1 else "samples"
        chart = charts.linear(f"{evaluation.samples} {noun}: {evaluation.data}", rows)
        return EvaluationView(evaluation.metric, evaluation.samples, chart, (), ())
    table = tuple(
        (entry, *(f"{figures[i]:.4f}" for figures in results.values())) for i, entry in enumerate(evaluation.data)
    )
    return EvaluationView(evaluation.metric, evaluation.samples, None, ("Data", *results), table)


def _stages(stages: Mapping[str, float]) -> Chart:
    rows = [(_words(name), seconds, f"{seconds:.3g} s") for name, seconds in stages.items()]
    return charts.linear(f"Build stages, {sum(stages.values()):.3g} s in total", rows)
