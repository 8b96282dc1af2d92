"""Models of the keys of bundle.json that the report shows. A missing key is an error here, never a gap in the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bundler.errors import VerifyError

INFINITE = float("inf")


class _Record(BaseModel):
    """A part of bundle.json; other keys, which the report does not need, are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TensorRecord(_Record):
    """An input or output of a signature; a dim is a size, the name of a dynamic axis, or None."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...]


class SignatureRecord(_Record):
    """The inputs and outputs of a signature."""

    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]


class DeviationRecord(_Record):
    """The difference in one output of one call (`serving.golden.compare.Difference`); errors that are not finite are inf."""

    draw: str
    output: str
    max_abs: float = INFINITE
    max_rel: float = INFINITE
    problem: str | None = None


class ComparisonRecord(DeviationRecord):
    """One comparison with PyTorch: an output of one call in one runtime."""

    signature: str
    runtime: str
    gated: bool
    passed: bool


class ParitySummaryRecord(_Record):
    """The largest differences of one output over all draws in one runtime."""

    runtime: str
    signature: str
    output: str
    draws: int
    max_abs: float = INFINITE
    max_rel: float = INFINITE
    worst_draw: str
    verdict: str


class ParityRecord(_Record):
    """The comparison of a version with PyTorch; `left_out` says in words what was not compared."""

    tolerance: float
    passed: bool
    summary: tuple[ParitySummaryRecord, ...]
    results: tuple[ComparisonRecord, ...]
    left_out: tuple[str, ...] = ()


class GraphRecord(_Record):
    """The graph of a SavedModel; `ops` counts nodes by operator."""

    ops: dict[str, int]
    transposes: int
    weight_bytes: int
    nodes: int


class AgreementRecord(_Record):
    """How closely one output of a variant agrees with PyTorch's; measures that are not finite or do not apply are None."""

    sqnr_db: float | None = None
    cosine: float | None = None
    top1: float | None = None


class AccuracyRecord(_Record):
    """Agreement of a variant with PyTorch, by output."""

    outputs: dict[str, AgreementRecord] = {}


class MetricRecord(_Record):
    """The results of the evaluate function for a variant and for PyTorch, and the lowest value that passes."""

    function: str
    value: float
    pytorch: float
    floor: float


class DelegationRecord(_Record):
    """The share of nodes that XNNPACK runs, 0 to 1."""

    share: float


class JudgedRecord(_Record):
    """A variant, published or rejected, whose accuracy may have been measured."""

    accuracy: AccuracyRecord | None = None
    evaluation: MetricRecord | None = None


class LayerLossRecord(_Record):
    """The signal-to-noise ratio of the model when only this layer is int8."""

    layer: str
    sqnr_db: float = INFINITE


class RejectedRecord(JudgedRecord):
    """A variant that was requested but not published; `mix` lists the layers that must stay in float for it to pass."""

    reason: str
    below_gate: bool = False
    layers: tuple[LayerLossRecord, ...] = ()
    mix: tuple[str, ...] | None = None

    @field_validator("layers", mode="before")
    @classmethod
    def _finite(cls, value: object) -> object:
        """Convert infinite ratios, which bundle.json holds as text."""
        return [{**row, "sqnr_db": float(row["sqnr_db"])} for row in value] if isinstance(value, list) else value


class FastPathRecord(_Record):
    """The model.tflite next to the SavedModel; `latency_ms` is by number of threads."""

    file: str
    size_bytes: int
    latency_ms: dict[int, float]
    operators: dict[str, int]


class VariantRecord(JudgedRecord):
    """One .tflite file; `latency_ms` is by number of threads."""

    file: str
    size_bytes: int
    latency_ms: dict[int, float]
    error: tuple[DeviationRecord, ...]
    operators: dict[str, int]
    float_operators: dict[str, int]
    calibration: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    delegation: DelegationRecord | None = None


class EvaluationRecord(_Record):
    """The results of an `evaluate` function: one figure per runtime, or one per runtime and entry of `data`."""

    metric: str
    data: str | tuple[str, ...]
    samples: int
    results: dict[str, tuple[float, ...]]

    @field_validator("results", mode="before")
    @classmethod
    def _as_rows(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: row if isinstance(row, (list, tuple)) else [row] for name, row in value.items()}

    @model_validator(mode="after")
    def _one_figure_per_entry(self) -> EvaluationRecord:
        entries = 1 if isinstance(self.data, str) else len(self.data)
        for name, row in self.results.items():
            if len(row) != entries:
                raise ValueError(f"{name}: expected one figure per entry of 'data', so {entries}, but got {len(row)}")
        return self


class VersionRecord(_Record):
    """The record of one version of a model."""

    created: datetime
    source: dict[str, Any]
    converter: str
    layout: str
    opset: int
    signatures: dict[str, SignatureRecord]
    parity: ParityRecord
    graph: GraphRecord
    tflite: dict[str, VariantRecord]
    tflite_refused: dict[str, RejectedRecord] = {}
    fast_path: FastPathRecord | None = None
    stages: dict[str, float]
    evaluation: EvaluationRecord | None = None


class ModelRecord(_Record):
    """The versions of a model, by number."""

    versions: dict[int, VersionRecord] = Field(min_length=1)


class ManifestRecord(_Record):
    """The content of bundle.json."""

    tools: dict[str, str]
    models: dict[str, ModelRecord]


def read_manifest(content: Mapping[str, Any]) -> ManifestRecord:
    """Return the part of bundle.json that the report shows.

    Raises:
        VerifyError: Keys are missing or malformed; the message names each of them.
    """
    try:
        return ManifestRecord.model_validate(content)
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()]
        raise VerifyError(
            "bundle.json lacks data that the report shows:\n" + "\n".join(lines), fix="build the model again"
        ) from exc
