"""The section `against` of a model: the version in service that a new one is compared with, and the bounds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from bundler.spec.signature_spec import Strict

_VERSION_OR_LABEL = re.compile(r"[1-9][0-9]{0,18}|[A-Za-z][A-Za-z0-9_.\-]{0,62}")


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class AgainstSpec(Strict):
    """The comparison of a new version with the one in service (docs/how-to/gates.md)."""

    version: Annotated[str | None, BeforeValidator(_text)] = Field(
        None,
        description="Version, or label of the version, that a new one is compared with before it is published. "
        "`tfbundle build --against` sets it for all models.",
        examples=["stable"],
    )
    min_agreement: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Lowest share of rows of each output that both versions answer alike: of the labelled rows with "
        "tflite.evaluate, else of the golden rows. Default: no bound with tflite.evaluate, else 0.9.",
        examples=[0.95],
    )
    agreement_tolerance: float = Field(
        0.05,
        ge=0,
        description="Largest relative difference of two rows that count as alike; two rows with the same top-1 class are "
        "alike anyway.",
    )
    max_metric_drop: float = Field(
        0.0, ge=0, description="Largest drop of the metric of tflite.evaluate below that of the version in service."
    )
    max_latency_ratio: Annotated[float, Field(gt=0)] | None = Field(
        1.25, description="Largest latency as a multiple of that of the version in service; null for no bound."
    )
    max_size_ratio: Annotated[float, Field(gt=0)] | None = Field(
        1.5, description="Largest size on disk as a multiple of that of the version in service; null for no bound."
    )

    @field_validator("version")
    @classmethod
    def _named(cls, version: str | None) -> str | None:
        if version is not None and not _VERSION_OR_LABEL.fullmatch(version):
            raise ValueError(f"{version!r} is neither a version nor a label; write e.g. 3 or stable")
        return version
