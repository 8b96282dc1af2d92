"""Whether a variant is accurate enough to be published.

1. With `--evaluate`: its metric is at most `max_drop` below PyTorch's, in the metric's own unit.
2. Without: on calibration samples (on the example and a random draw where there are none) the signal-to-quantization-noise
   ratio of each float output against PyTorch is at least `min_sqnr` dB (10 dB: the error is a third of the output), and
   the share of equal top-1 answers at least `min_top1`, if that is set.

Agreement is measured and reported in both cases.
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
    """How far one output is PyTorch's, over all calls.

    Attributes:
        sqnr_db: of a float output: signal by noise; infinite when equal.
        cosine: of a float output: between both as vectors.
        top1: share of equal answers: along the last axis of floats, or of the integers themselves.
    """

    sqnr_db: float | None = None
    cosine: float | None = None
    top1: float | None = None

    @classmethod
    def of(cls, want: Array, got: Array) -> Agreement:
        """Of arrays of one shape, calls on the first axis."""
        if want.dtype.kind != "f":
            return cls(top1=float(np.mean(want == got))) if want.size else cls()
        classes = want.ndim > 1 and want.shape[-1] > 1 and want.size > 0
        top1 = float(np.mean(want.argmax(-1) == got.argmax(-1))) if classes else None
        return cls(decibels(noise_to_signal(want, got)), _cosine(want, got), top1)

    def to_json(self) -> dict[str, float]:
        """Without what is not finite: an output without any noise has no ratio."""
        named = {"sqnr_db": self.sqnr_db, "cosine": self.cosine, "top1": self.top1}
        return {name: round(value, 5) for name, value in named.items() if value is not None and math.isfinite(value)}


@dataclass(frozen=True)
class GateFigures:
    """What is known of the accuracy of one file."""

    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    calls: int = 0
    metric: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"calls": self.calls, "outputs": {name: found.to_json() for name, found in self.agreement.items()}}


@dataclass(frozen=True)
class Gate:
    """What a file has to reach.

    Attributes:
        metric: what the evaluate function is called, or None.
        reference: its figure for PyTorch.
    """

    spec: TfliteSpec
    metric: str | None = None
    reference: float | None = None

    @property
    def floor(self) -> float | None:
        return None if self.reference is None else self.reference - self.spec.max_drop

    def complaint(self, figures: GateFigures) -> str | None:
        """What a file falls short of; None when it passes."""
        if self.floor is not None:
            # The sum of a reference and a drop is not exact: 0.97 is 0.98 - 0.01.
            if figures.metric is not None and figures.metric >= self.floor - 1e-9:
                return None
            return (
                f"{self.metric} is {_number(figures.metric)}, PyTorch's is {_number(self.reference)}, "
                f"and max_drop {self.spec.max_drop:g} asks for {_number(self.floor)}"
            )
        return next((said for name, found in figures.agreement.items() if (said := self._short(name, found))), None)

    def _short(self, output: str, found: Agreement) -> str | None:
        if found.sqnr_db is not None and not found.sqnr_db >= self.spec.min_sqnr:
            return f"output {output}: SQNR {found.sqnr_db:.1f} dB against PyTorch, min_sqnr asks for {self.spec.min_sqnr:g}"
        least = self.spec.min_top1
        if least is not None and found.top1 is not None and found.top1 < least:
            return f"output {output}: {found.top1:.1%} of the top-1 answers are PyTorch's, min_top1 asks for {least:.1%}"
        return None

    def metric_json(self, figures: GateFigures) -> dict[str, Any]:
        """The metric for bundle.json; nothing without an evaluate function."""
        if figures.metric is None or self.reference is None or self.floor is None:
            return {}
        drop = round(self.reference - figures.metric, 9)
        compared = {"pytorch": self.reference, "drop": drop, "floor": self.floor}
        return {"function": self.metric, "value": figures.metric, **compared}


def agreement(want: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]) -> dict[str, Agreement]:
    """By output; those that a file lacks or has in another shape are parity's to tell."""
    found = {}
    for name in want[0] if want else ():
        pairs = [(w[name], g[name]) for w, g in zip(want, got, strict=True) if name in g]
        if len(pairs) == len(want) and all(w.shape == g.shape and w.dtype.kind in "fiub" for w, g in pairs):
            found[name] = Agreement.of(_together([w for w, _ in pairs]), _together([g for _, g in pairs]))
    return found


def _together(arrays: Sequence[Array]) -> Array:
    """Calls on the first axis; where the sizes depend on the data, all values in a row."""
    same = len({array.shape for array in arrays}) == 1
    return np.stack(arrays) if same else np.concatenate([array.ravel() for array in arrays])


def _cosine(want: Array, got: Array) -> float | None:
    finite = np.isfinite(want)
    a, b = want[finite].astype(np.float64), got[finite].astype(np.float64)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size and math.isfinite(size) else None


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
