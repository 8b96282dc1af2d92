"""The result of the parity check: one row per output and call, their summary, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundler.errors import ParityError
from bundler.values.comparison import SAVED_MODEL, Row
from bundler.values.exported import PYTORCH

if TYPE_CHECKING:
    from bundler.validation.padding import PaddedAnswers

_STEPS = 0.01
"""A tolerance, relative to the RMS of an output, that covers one quantization step of an 8-bit model."""


@dataclass(frozen=True)
class OutputSummary:
    """The worst difference of one output in one runtime, over all draws."""

    runtime: str
    signature: str
    output: str
    draws: int
    max_abs: float
    max_rel: float
    worst_draw: str
    verdict: str


@dataclass(frozen=True)
class ParityReport:
    """The comparison of a model's artifacts with PyTorch.

    Attributes:
        left_out: the draws and runtimes that could not be compared, each with the reason.
        hint: the stage and the layer at fault, if the comparison failed.
        basis: why the tolerance has this value; empty if unknown.
        runtime_notes: the entries of `left_out` about ONNX Runtime: where it could not confirm the reference, or only in part.
        referee: what computed the reference outputs.
        padded: what padding does to the answers of the signatures with inputs of varying length.
    """

    tolerance: float
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()
    hint: str | None = None
    runtime_notes: tuple[str, ...] = ()
    referee: str = PYTORCH.name
    basis: str = ""
    padded: tuple[PaddedAnswers, ...] = ()

    @property
    def failures(self) -> tuple[Row, ...]:
        """The gated rows that exceed the tolerance."""
        return tuple(row for row in self.rows if row.gated and not row.within(self.tolerance))

    @property
    def passed(self) -> bool:
        """Whether the SavedModel was compared and every gated row is within the tolerance."""
        return not self.failures and any(row.runtime == SAVED_MODEL for row in self.rows)

    def worst(self, runtime: str) -> float:
        """Return the largest relative error of a runtime over all draws and outputs; 0 if it has no rows."""
        return max((row.difference.max_rel for row in self.rows if row.runtime == runtime), default=0.0)

    def summary(self) -> tuple[OutputSummary, ...]:
        """Return one line per runtime, signature and output, in the order of the comparison, for tables."""
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.runtime, row.signature, row.difference.output), []).append(row)
        return tuple(self._summarize(key, rows) for key, rows in groups.items())

    def _summarize(self, key: tuple[str, str, str], rows: Sequence[Row]) -> OutputSummary:
        worst = max(rows, key=lambda row: row.difference.max_rel)
        good = all(row.within(self.tolerance) for row in rows)
        verdict = ("passed" if good else "FAILED") if worst.gated else "reported"
        largest = max(row.difference.max_abs for row in rows)
        return OutputSummary(*key, len(rows), largest, worst.difference.max_rel, worst.draw, verdict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json, without errors that are not finite; their `problem` gives the reason."""
        return {
            "tolerance": self.tolerance,
            **({"tolerance_basis": self.basis} if self.basis else {}),
            "passed": self.passed,
            "reference": self.referee,
            "summary": [{k: v for k, v in vars(line).items() if _is_json(v)} for line in self.summary()],
            "results": [row.to_json(self.tolerance) for row in self.rows],
            "left_out": list(self.left_out),
            **({"runtime_notes": list(self.runtime_notes)} if self.runtime_notes else {}),
            **({"hint": self.hint} if self.hint else {}),
            **({"padded": {answers.signature: answers.to_json() for answers in self.padded}} if self.padded else {}),
        }

    def error(self, *, quantized: bool = False) -> ParityError:
        """Return the error for the pipeline to raise if the comparison failed.

        Args:
            quantized: whether the source model has quantized layers.
        """
        runtimes = ", ".join(dict.fromkeys(row.runtime for row in self.failures))
        basis = f" ({self.basis})" if self.basis else ""
        lines = [
            f"The outputs of {runtimes} differ from {self.referee}'s by more than the tolerance {self.tolerance:g}{basis}."
        ]
        if not runtimes:
            lines = [f"The outputs of {SAVED_MODEL} were not compared with {self.referee}'s."]
        worst = sorted(self.failures, key=lambda row: -row.difference.max_rel)
        lines += [f"  {row.explain()}" for row in worst[:5]]
        if len(worst) > 5:
            lines.append(f"  … and {len(worst) - 5} more")
        fix = "see the layer named above, or accept a larger relative error with --tolerance N where it is harmless"
        if quantized:
            fix = (
                f"accept rounding to another step with --tolerance {_STEPS:g}: the model is quantized, and a step exceeds this "
                "tolerance (a float model needs no more than 1e-4)"
            )
        return ParityError("\n".join(lines), where=self.hint, fix=fix)


def _is_json(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
