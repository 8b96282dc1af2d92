"""The forms in which a model can be served, and the candidates for a server: a form with a setting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serving.advise.settings import Setting

Artifact = Literal["SavedModel", "model.tflite"]


@dataclass(frozen=True)
class Form:
    """A form in which a server can serve a model.

    Attributes:
        artifact: what is served.
        precision: the precision in which it was built, such as `float32` or `int8`.
        source: the bundle's folder, or another source of `serving.server.Server`.
        size_bytes: size of what is served.
        mixed_precision: whether TensorFlow computes in bfloat16 (`--mixed_precision=bfloat16`).
        label: the bundle's name, if several are compared.
    """

    artifact: Artifact
    precision: str
    source: Path
    size_bytes: int = 0
    mixed_precision: bool = False
    label: str = ""

    @property
    def is_tflite(self) -> bool:
        """Whether it is a model.tflite."""
        return self.artifact == "model.tflite"

    @property
    def is_lower(self) -> bool:
        """Whether its answers need a gate: it computes in less than float32."""
        return self.mixed_precision or self.precision != "float32"

    @property
    def fast_path(self) -> bool | str:
        """The key `fast_path` in bundle.yaml that makes the form, or False for a SavedModel."""
        return self.is_tflite and (self.precision == "float32" or self.precision)

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of tensorflow_model_server that choose the form."""
        if self.is_tflite:
            return ("--prefer_tflite_model=true",)
        return ("--mixed_precision=bfloat16",) if self.mixed_precision else ()

    @property
    def explicit_flags(self) -> tuple[str, ...]:
        """The same for the embedded server, which otherwise follows the bundle's own settings."""
        precision = "bfloat16" if self.mixed_precision else ""
        return (f"--prefer_tflite_model={str(self.is_tflite).lower()}", f"--mixed_precision={precision}")

    def __str__(self) -> str:
        flag = " with --mixed_precision=bfloat16" if self.mixed_precision else ""
        return f"{self.label + ': ' if self.label else ''}{self.artifact} {self.precision}{flag}"


@dataclass(frozen=True)
class Accuracy:
    """How well a form answers the bundle's golden calls.

    Attributes:
        max_rel: the largest relative error of an output against PyTorch's; None if it is not known.
        sqnr_db: the signal-to-noise ratio of the worst output in dB; None if no output is a float.
        problem: why the form must not be served; empty if its answers are good enough.
    """

    max_rel: float | None = None
    sqnr_db: float | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finite figures, and the problem if there is one."""
        figures = {"max_rel": self.max_rel, "sqnr_db": self.sqnr_db}
        known = {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
        return {**known, **({"problem": self.problem} if self.problem else {})}

    def __str__(self) -> str:
        ratio = [f"{self.sqnr_db:.0f} dB"] if self.sqnr_db is not None and math.isfinite(self.sqnr_db) else []
        return ", ".join([*ratio, *([f"{self.max_rel:.1e}"] if self.max_rel is not None else [])])


@dataclass(frozen=True)
class Candidate:
    """A form and a setting: all that a server is started with."""

    form: Form
    setting: Setting

    def flags(self, batching_file: str) -> tuple[str, ...]:
        """Return the flags of tensorflow_model_server; `batching_file` is the path of the batching parameters."""
        return (*self.form.flags, *self.setting.flags(batching_file))

    def __str__(self) -> str:
        return f"{self.form}, {self.setting}"
