"""The gate that decides whether a variant is accurate enough to be published.

1. With `--evaluate`: the file's metric is at most `max_drop` below PyTorch's, in the metric's own unit.
2. Without: no layer within an int8 file has lost its values (`bundler.tflite.health`); and on calibration samples (or the example
   and a random draw if there are none), the signal-to-quantization-noise ratio of each float output against PyTorch is at least
   `min_sqnr` dB (at 15 dB the error is a sixth of the output), and the top-1 agreement is at least `min_top1`, if that is set.

Agreement and lost values are measured and reported in both cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.tflite.mix import decibels
from bundler.tflite.sensitivity import noise_to_signal
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec


@dataclass(frozen=True)
class Agreement:
    """The agreement of one output with PyTorch's, over all calls.

    Attributes:
        sqnr_db: signal-to-quantization-noise ratio of a float output in dB; infinite if both are equal.
        cosine: cosine similarity of a float output, as one vector.
        top1: share of equal top-1 entries along the last axis of floats, or of equal integers.
    """

    sqnr_db: float | None = None
    cosine: float | None = None
    top1: float | None = None

    @classmethod
    def of(cls, want: Array, got: Array) -> Agreement:
        """Compare two arrays of the same shape, with calls on the first axis."""
        if want.dtype.kind != "f":
            return cls(top1=float(np.mean(want == got))) if want.size else cls()
        classes = want.ndim > 1 and want.shape[-1] > 1 and want.size > 0
        top1 = float(np.mean(want.argmax(-1) == got.argmax(-1))) if classes else None
        return cls(decibels(noise_to_signal(want, got)), _cosine(want, got), top1)

    def to_json(self) -> dict[str, float]:
        """Return the finite figures: an output without any noise has no ratio."""
        figures = {"sqnr_db": self.sqnr_db, "cosine": self.cosine, "top1": self.top1}
        return {name: round(value, 5) for name, value in figures.items() if value is not None and math.isfinite(value)}


@dataclass(frozen=True)
class GateFigures:
    """The measured accuracy of one file.

    Attributes:
        agreement: agreement with PyTorch, by output.
        calls: number of calls over which agreement was measured.
        metric: the evaluate function's metric, or None.
        unhealthy: what is wrong with layers within the file, by their names.
    """

    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    calls: int = 0
    metric: float | None = None
    unhealthy: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the `accuracy` record for bundle.json."""
        lost = {"lost": dict(self.unhealthy)} if self.unhealthy else {}
        return {"calls": self.calls, "outputs": {name: output.to_json() for name, output in self.agreement.items()}, **lost}


@dataclass(frozen=True)
class Gate:
    """The accuracy that a file must reach.

    Attributes:
        spec: the model's `tflite` section, with the limits.
        metric: name of the evaluate function, or None.
        reference: the function's metric for PyTorch.
        data: what is recorded about the evaluation data.
    """

    spec: TfliteSpec
    metric: str | None = None
    reference: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def floor(self) -> float | None:
        """The lowest metric that passes, or None without an evaluate function."""
        return None if self.reference is None else self.reference - self.spec.max_drop

    def complaint(self, figures: GateFigures) -> str | None:
        """Return the reason why a file fails; None if it passes."""
        if self.floor is not None:
            # Floating-point subtraction is not exact: 0.98 - 0.01 has to admit 0.97.
            if figures.metric is not None and figures.metric >= self.floor - 1e-9:
                return None
            return (
                f"{self.metric} is {_number(figures.metric)}, PyTorch's is {_number(self.reference)}, "
                f"and max_drop {self.spec.max_drop:g} requires {_number(self.floor)}"
            )
        complaints = (self._output_complaint(name, output) for name, output in figures.agreement.items())
        lost = "; ".join(f"{name}: {what}" for name, what in figures.unhealthy.items())
        return next(filter(None, complaints), f"values within the model are lost: {lost}" if lost else None)

    def _output_complaint(self, name: str, output: Agreement) -> str | None:
        min_sqnr, min_top1 = self.spec.min_sqnr, self.spec.min_top1
        if output.sqnr_db is not None and not output.sqnr_db >= min_sqnr:
            return f"output {name}: its SQNR against PyTorch is {output.sqnr_db:.1f} dB, and min_sqnr requires {min_sqnr:g}"
        if min_top1 is not None and output.top1 is not None and output.top1 < min_top1:
            return f"output {name}: {output.top1:.1%} of the top-1 answers equal PyTorch's, and min_top1 requires {min_top1:.1%}"
        return None

    def metric_json(self, figures: GateFigures) -> dict[str, Any]:
        """Return the `evaluation` record for bundle.json; empty without an evaluate function."""
        if figures.metric is None or self.reference is None or self.floor is None:
            return {}
        drop = round(self.reference - figures.metric, 9)
        compared = {"pytorch": self.reference, "drop": drop, "floor": self.floor}
        return {"function": self.metric, "value": figures.metric, **compared, **self.data}


def agreement(want: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]) -> dict[str, Agreement]:
    """Compare the outputs of all calls, by output name.

    Outputs that a file lacks or has in another shape are left out; the parity check reports them.
    """
    agreements = {}
    for name in want[0] if want else ():
        pairs = [(w[name], g[name]) for w, g in zip(want, got, strict=True) if name in g]
        if len(pairs) == len(want) and all(w.shape == g.shape and w.dtype.kind in "fiub" for w, g in pairs):
            agreements[name] = Agreement.of(_joined([w for w, _ in pairs]), _joined([g for _, g in pairs]))
    return agreements


def _joined(arrays: Sequence[Array]) -> Array:
    """Stack calls on the first axis; if sizes depend on the data, concatenate all values."""
    same = len({array.shape for array in arrays}) == 1
    return np.stack(arrays) if same else np.concatenate([array.ravel() for array in arrays])


def _cosine(want: Array, got: Array) -> float | None:
    finite = np.isfinite(want)
    a, b = want[finite].astype(np.float64), got[finite].astype(np.float64)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size and math.isfinite(size) else None


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
