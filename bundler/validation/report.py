"""What parity found: one row an output and call, their summary, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bundler.errors import ParityError
from bundler.values.comparison import SAVED_MODEL, Row

_STEPS = 0.01
"""Tolerance that a step of an 8-bit model keeps, against the RMS of an output."""


@dataclass(frozen=True)
class OutputSummary:
    """All draws of one output in one runtime: the worst of them."""

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
    """What was compared and what came out.

    Attributes:
        left_out: what could not be compared, and why.
        not_run: of these, what concerns a whole runtime.
        hint: for a failure: which stage and which layer is at fault.
    """

    tolerance: float
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()
    hint: str | None = None
    not_run: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.gated and not row.difference.within(self.tolerance))

    @property
    def passed(self) -> bool:
        """True when the SavedModel was compared and every gated row keeps the tolerance."""
        return not self.failures and any(row.runtime == SAVED_MODEL for row in self.rows)

    def worst(self, runtime: str) -> float:
        """Largest relative error of a runtime over all draws and outputs; 0 when it has no rows."""
        return max((row.difference.max_rel for row in self.rows if row.runtime == runtime), default=0.0)

    def summary(self) -> tuple[OutputSummary, ...]:
        """One line a runtime, signature and output, in the order of the comparison; for tables."""
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.runtime, row.signature, row.difference.output), []).append(row)
        return tuple(self._summarize(key, rows) for key, rows in groups.items())

    def _summarize(self, key: tuple[str, str, str], rows: Sequence[Row]) -> OutputSummary:
        worst = max(rows, key=lambda row: row.difference.max_rel)
        good = all(row.difference.within(self.tolerance) for row in rows)
        verdict = ("passed" if good else "FAILED") if worst.gated else "reported"
        largest = max(row.difference.max_abs for row in rows)
        return OutputSummary(*key, len(rows), largest, worst.difference.max_rel, worst.draw, verdict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for bundle.json; an error that is not finite is left out, its `problem` says why."""
        return {
            "tolerance": self.tolerance,
            "passed": self.passed,
            "summary": [{k: v for k, v in vars(line).items() if _is_json(v)} for line in self.summary()],
            "results": [row.to_json(self.tolerance) for row in self.rows],
            "left_out": list(self.left_out),
            **({"hint": self.hint} if self.hint else {}),
        }

    def error(self, *, quantized: bool = False) -> ParityError:
        """The error of a failed report, for the pipeline to raise.

        Args:
            quantized: whether the model came with quantized layers.
        """
        runtimes = dict.fromkeys(row.runtime for row in self.failures)
        named = ", ".join(runtimes) or f"nothing was compared with {SAVED_MODEL}"
        lines = [f"Not the answers of PyTorch (tolerance {self.tolerance:g}): {named}."]
        worst = sorted(self.failures, key=lambda row: -row.difference.max_rel)
        lines += [f"  {row.explain()}" for row in worst[:5]]
        if len(worst) > 5:
            lines.append(f"  … and {len(worst) - 5} further outputs or draws")
        fix = "see the layer named above; --tolerance N accepts a larger relative error where it is harmless"
        if quantized:
            fix = (
                "the model comes quantized: a value between two steps may fall on either, and a step is more than this "
                f"tolerance; --tolerance {_STEPS:g} accepts that (a model in float needs no more than 1e-4)"
            )
        return ParityError("\n".join(lines), where=self.hint, fix=fix)


def _is_json(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
