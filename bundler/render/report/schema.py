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


class Signature(_Part):
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Deviation(_Part):
    """One output of one call (`serving.compare.Difference`); an error that is not finite is infinite here."""

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


class Summary(_Part):
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
    summary: tuple[Summary, ...]
    results: tuple[Comparison, ...]
    left_out: tuple[str, ...] = ()


class Graph(_Part):
    ops: dict[str, int]
    transposes: int
    weight_bytes: int
    nodes: int


class Variant(_Part):
    """One .tflite file; `latency_ms` by number of threads."""

    file: str
    size_bytes: int
    latency_ms: dict[int, float]
    error: tuple[Deviation, ...]
    operators: dict[str, int]
    float_operators: dict[str, int]
    calibration: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


class Evaluation(_Part):
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
    def _as_long_as_the_data(self) -> Evaluation:
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
    signatures: dict[str, Signature]
    parity: Parity
    graph: Graph
    tflite: dict[str, Variant]
    stages: dict[str, float]
    evaluation: Evaluation | None = None


class Model(_Part):
    versions: dict[int, Version] = Field(min_length=1)


class Manifest(_Part):
    tools: dict[str, str]
    models: dict[str, Model]


def read_manifest(content: Mapping[str, Any]) -> Manifest:
    """The part of bundle.json that the report shows.

    Raises:
        VerifyError: naming each missing or malformed key.
    """
    try:
        return Manifest.model_validate(content)
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()]
        raise VerifyError(
            "bundle.json has not what a report shows:\n" + "\n".join(lines), fix="build the model again"
        ) from exc
