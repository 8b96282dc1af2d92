"""The keys of bundle.json that the report shows. What is missing is an error here, never a gap in the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bundler.errors import VerifyError

INFINITE = float("inf")


class _Part(BaseModel):
    """Further keys are allowed: other readers need them."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Tensor(_Part):
    name: str
    dtype: str
    dims: tuple[int | str | None, ...]


class SignatureRecord(_Part):
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Deviation(_Part):
    """One output of one call (`serving.golden.compare.Difference`); an error that is not finite is infinite here."""

    draw: str
    output: str
    max_abs: float = INFINITE
    max_rel: float = INFINITE
    problem: str | None = None


class Comparison(Deviation):
    """One row of parity."""

    signature: str
    runtime: str
    gated: bool
    passed: bool


class SummaryRecord(_Part):
    """All draws of one output in one runtime."""

    runtime: str
    signature: str
    output: str
    draws: int
    max_abs: float = INFINITE
    max_rel: float = INFINITE
    worst_draw: str
    verdict: str


class Parity(_Part):
    tolerance: float
    passed: bool
    summary: tuple[SummaryRecord, ...]
    results: tuple[Comparison, ...]
    left_out: tuple[str, ...] = ()


class Graph(_Part):
    ops: dict[str, int]
    transposes: int
    weight_bytes: int
    nodes: int


class AgreementRecord(_Part):
    """How far one output of a variant is PyTorch's; what is not finite or has no meaning is missing."""

    sqnr_db: float | None = None
    cosine: float | None = None
    top1: float | None = None


class Accuracy(_Part):
    """Agreement with PyTorch by output."""

    outputs: dict[str, AgreementRecord] = {}


class MetricRecord(_Part):
    """What the evaluate function says of a variant and of PyTorch, and the least that is accepted."""

    function: str
    value: float
    pytorch: float
    floor: float


class DelegationRecord(_Part):
    """What XNNPACK takes: the share of nodes, 0 to 1."""

    share: float


class Judged(_Part):
    """What may be known of a variant's accuracy."""

    accuracy: Accuracy | None = None
    evaluation: MetricRecord | None = None


class LossRecord(_Part):
    """What a layer costs when it alone is int8."""

    layer: str
    sqnr_db: float = INFINITE


class RefusedRecord(Judged):
    """A variant that was asked for and is not in the bundle; `mix`: layers that have to stay float for it to pass."""

    reason: str
    below_gate: bool = False
    layers: tuple[LossRecord, ...] = ()
    mix: tuple[str, ...] | None = None

    @field_validator("layers", mode="before")
    @classmethod
    def _finite(cls, value: object) -> object:
        """bundle.json has what is not finite as text."""
        return [{**row, "sqnr_db": float(row["sqnr_db"])} for row in value] if isinstance(value, list) else value


class FastPathRecord(_Part):
    """The model.tflite beside the SavedModel; `latency_ms` by number of threads."""

    file: str
    size_bytes: int
    latency_ms: dict[int, float]
    operators: dict[str, int]


class VariantRecord(Judged):
    """One .tflite file; `latency_ms` by number of threads."""

    file: str
    size_bytes: int
    latency_ms: dict[int, float]
    error: tuple[Deviation, ...]
    operators: dict[str, int]
    float_operators: dict[str, int]
    calibration: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    delegation: DelegationRecord | None = None


class EvaluationRecord(_Part):
    """What an `evaluate` function measured: one figure a runtime, or one for each entry of `data`."""

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
    def _as_long_as_the_data(self) -> EvaluationRecord:
        wanted = 1 if isinstance(self.data, str) else len(self.data)
        for name, row in self.results.items():
            if len(row) != wanted:
                raise ValueError(f"{name} has {len(row)} figures for {wanted} entries of data")
        return self


class Version(_Part):
    """The record of one version of a model."""

    created: datetime
    source: dict[str, Any]
    converter: str
    layout: str
    opset: int
    signatures: dict[str, SignatureRecord]
    parity: Parity
    graph: Graph
    tflite: dict[str, VariantRecord]
    tflite_refused: dict[str, RefusedRecord] = {}
    fast_path: FastPathRecord | None = None
    stages: dict[str, float]
    evaluation: EvaluationRecord | None = None


class Model(_Part):
    versions: dict[int, Version] = Field(min_length=1)


class ManifestRecord(_Part):
    tools: dict[str, str]
    models: dict[str, Model]


def read_manifest(content: Mapping[str, Any]) -> ManifestRecord:
    """The part of bundle.json that the report shows.

    Raises:
        VerifyError: naming each missing or malformed key.
    """
    try:
        return ManifestRecord.model_validate(content)
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()]
        raise VerifyError(
            "bundle.json has not what a report shows:\n" + "\n".join(lines), fix="build the model again"
        ) from exc
