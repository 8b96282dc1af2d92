"""The comparison of an exported graph with PyTorch in ONNX Runtime, which can be at fault itself.

1. A call that ONNX Runtime rejects, or answers differently than PyTorch, is repeated without its graph optimizations: its fusions
   and fused kernels have faults of their own (its Attention rejects masks that ONNX allows, for example).
2. If ONNX Runtime still stops, it does not take part in this call.
3. If its answer still differs, the SavedModel decides who is at fault. If it agrees with PyTorch, ONNX Runtime is, and its
   difference is only reported. Otherwise the export may be, and the difference counts.

PyTorch always is the reference; each call that ONNX Runtime could not confirm is noted with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.errors import ParityError
from bundler.graph.onnx_runtime import OnnxModel
from bundler.graph.witness import PLAIN_ONNX_RUNTIME
from bundler.values.comparison import ONNX_RUNTIME, Row, compared_rows
from bundler.values.reference import Case, ReferenceOutputs

_DIFFERS = "its answer differs"


@dataclass(frozen=True)
class OnnxCall:
    """One call in ONNX Runtime.

    Attributes:
        draw: name of the call.
        rows: the comparison with the reference; empty if ONNX Runtime stopped.
        problem: what ONNX Runtime said or did with its graph optimizations; None if nothing was wrong.
        confirmed: whether ONNX Runtime, with or without them, agrees with the reference.
    """

    draw: str
    rows: tuple[Row, ...]
    problem: str | None
    confirmed: bool


def run_onnx(reference: ReferenceOutputs, tolerance: float) -> tuple[OnnxCall, ...]:
    """Run all calls of a signature in ONNX Runtime, and again without graph optimizations where it is wrong."""
    path = reference.exported.onnx
    optimized, plain = _Runtime(path, optimize=True), _Runtime(path, optimize=False)
    return tuple(_call(optimized, plain, reference.exported.name, case, tolerance) for case in reference.cases)


def _call(optimized: _Runtime, plain: _Runtime, signature: str, case: Case, tolerance: float) -> OnnxCall:
    rows, problem = _compared(optimized, signature, case)
    if rows and _agree(rows, tolerance):
        return OnnxCall(case.name, rows, None, confirmed=True)
    if problem is None:
        worst = max(rows, key=lambda row: row.difference.max_rel)
        problem = f"{_DIFFERS}: {worst.difference.explain()}"
    again, _ = _compared(plain, signature, case)
    if again and _agree(again, tolerance):
        return OnnxCall(case.name, again, problem, confirmed=True)
    return OnnxCall(case.name, rows or again, problem, confirmed=False)


def _compared(runtime: _Runtime, signature: str, case: Case) -> tuple[tuple[Row, ...], str | None]:
    """Return the rows of a call, or none and why ONNX Runtime stopped."""
    try:
        outputs = runtime(case)
    except ParityError as exc:
        return (), exc.what
    return tuple(compared_rows(signature, case.name, ONNX_RUNTIME, case.outputs, outputs)), None


def _agree(rows: Iterable[Row], tolerance: float) -> bool:
    return all(row.difference.within(tolerance) for row in rows)


class _Runtime:
    """A file in ONNX Runtime, opened by the first call; an error of loading it is the error of every call."""

    def __init__(self, path: Path, *, optimize: bool) -> None:
        self._path, self._optimize = path, optimize
        self._opened: OnnxModel | ParityError | None = None

    def __call__(self, case: Case) -> dict[str, Any]:
        if self._opened is None:
            try:
                self._opened = OnnxModel(self._path, optimize=self._optimize)
            except ParityError as exc:
                self._opened = exc
        if isinstance(self._opened, ParityError):
            raise self._opened
        return self._opened(case.inputs)


def judge(
    calls: Sequence[OnnxCall], reference: ReferenceOutputs, served: Sequence[Row], tolerance: float
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Decide which rows of ONNX Runtime count, once the SavedModel's are known.

    Args:
        calls: the calls in ONNX Runtime.
        reference: the signature, with what computed its reference outputs.
        served: the SavedModel's rows for the same calls.
        tolerance: the largest relative error that passes.

    Returns:
        ONNX Runtime's rows; and a note for each reason why calls were not confirmed, or only without graph optimizations.
    """
    failed = {row.draw for row in served if not row.difference.within(tolerance)}
    rows: list[Row] = []
    notes: dict[tuple[bool, str], list[OnnxCall]] = {}
    for call in calls:
        blamed = not call.confirmed and call.draw not in failed
        rows += [replace(row, gated=False) for row in call.rows] if blamed else call.rows
        if call.problem is not None and (call.confirmed or not call.rows or blamed):
            kind = _DIFFERS if call.problem.startswith(_DIFFERS) else call.problem
            notes.setdefault((call.confirmed, kind), []).append(call)
    return tuple(rows), tuple(_note(reference, noted, len(calls)) for noted in notes.values())


def _note(reference: ReferenceOutputs, calls: Sequence[OnnxCall], count: int) -> str:
    """Return one sentence or two about calls that ONNX Runtime did not confirm for the same reason; the first is quoted."""
    name, referee, first = reference.exported.name, reference.exported.referee.name, calls[0]
    draws = ", ".join(call.draw for call in calls)
    place = name if len(calls) == count else f"{name}, {'draw' if len(calls) == 1 else 'draws'} {draws}"
    problem = (first.problem or "").rstrip(".")
    if first.confirmed:
        return f"{place}: compared with {PLAIN_ONNX_RUNTIME}; with them: {problem}."
    if not first.rows:
        return f"{place}: not compared with ONNX Runtime: {problem}. {referee} alone decided."
    return f"{place}: ONNX Runtime disagrees: {problem}. {referee} decided, and the SavedModel agrees with it."
