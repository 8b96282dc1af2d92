"""The proof: the same inputs through PyTorch, ONNX Runtime, the SavedModel loaded from disk, and TFLite.

1. `references` asks PyTorch once for every draw of every signature.
2. `check` asks the artifacts and compares (rule: `serving.compare`). ONNX Runtime, the SavedModel and the
   float32 TFLite file are gated by the tolerance; the other variants are reported: their error is the price
   of their size.
3. `check_golden` asks a SavedModel again for the golden calls (`bundler.golden`), without PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bundler import divergence, inputs
from bundler.errors import ParityError, TfbundleError
from bundler.parity_report import FAST_PATH, ONNX_RUNTIME, SAVED_MODEL, ParityReport, Row
from bundler.runtimes import CannotLoadError, OnnxModel, SavedModel
from serving.compare import Difference, compare
from serving.golden import Golden, GoldenCase
from serving.protocol.status import StatusError
from serving.server.tflite_file import MODEL_FILE

if TYPE_CHECKING:
    from bundler.converters.native.registry import HandlerTable
    from bundler.export import ExportedSignature
    from bundler.tflite import VariantResult

Array = npt.NDArray[Any]

REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, ArithmeticError, TfbundleError)
"""What a model raises for a size it cannot take (a position without embedding, a reshape that fails)."""

@dataclass(frozen=True)
class Case:
    """One draw and what PyTorch answered, both in PyTorch's layout."""

    name: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class Reference:
    """PyTorch's answers for one signature.

    Attributes:
        left_out: draws that PyTorch itself refuses, each with its reason.
        served: the inputs stand in the served order of axes already: the signature is one of `bundler.edges`.
    """

    exported: ExportedSignature
    cases: tuple[Case, ...]
    left_out: tuple[str, ...] = ()
    served: bool = False

    def to_served(self, arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Inputs of a case in the order of axes that is served."""
        return dict(arrays) if self.served else to_served(arrays, permutations)


def references(exported: Sequence[ExportedSignature], *, seed: int = 0) -> tuple[Reference, ...]:
    """PyTorch's answers to all draws of all signatures.

    A size that PyTorch refuses is left out and named. The example itself must run.
    """
    return tuple(_reference(one, seed) for one in exported)


def _reference(exported: ExportedSignature, seed: int) -> Reference:
    cases, left_out = [], []
    for draw in inputs.draws(exported.signature, exported.examples, seed=seed):
        try:
            cases.append(Case(draw.name, draw.inputs, exported.reference(draw.inputs)))
        except REFUSALS as exc:
            if draw.name == "example":
                raise
            reason = f"{type(exc).__name__}: {(str(exc).strip().splitlines() or ['no message'])[0]}"
            left_out.append(f"{exported.name}, draw {draw.name}: PyTorch refuses it ({reason})")
    return Reference(exported, tuple(cases), tuple(left_out))


def check(
    asked: Sequence[Reference],
    saved_model: Path,
    *,
    tolerance: float,
    permutations: Mapping[str, Sequence[int]] | None = None,
    derived: Sequence[Reference] = (),
    variants: Sequence[VariantResult] = (),
    fast_path: Sequence[Row] = (),
    converter: str = "native",
    handlers: HandlerTable | None = None,
) -> ParityReport:
    """Compare ONNX Runtime, the SavedModel in the folder, and the TFLite variants with PyTorch.

    Args:
        asked: PyTorch's answers, from `references`.
        permutations: `ConvertedModel.permutations`.
        derived: PyTorch's answers through the signatures of `bundler.edges`; only the SavedModel has these.
        variants: the results of `tflite.build_variants`, which measured them.
        fast_path: the comparison of the model.tflite beside the SavedModel, which was made with it; gated as that is.
        converter: name of the converter; only `native` can say which layer diverges.
        handlers: those of the native converter; default: ours and those of installed packages.

    Mismatch raises nothing: see `passed`, `failures` and `error()` of the report.

    Raises:
        ParityError: TensorFlow cannot load the SavedModel at all.
    """
    rows: list[Row] = []
    left_out = [note for reference in (*asked, *derived) for note in reference.left_out]
    not_run: list[str] = []
    by_onnx = {reference.exported.name: _onnx_rows_or_none(reference, not_run) for reference in asked}
    served = SavedModel(saved_model)  # one runtime at a time: each holds all weights
    for reference in asked:
        rows += by_onnx[reference.exported.name]
        rows += _saved_model_rows(served, reference, permutations or {})
    for reference in derived:
        rows += _saved_model_rows(served, reference, {})
    rows += fast_path
    rows += [row for variant in variants for row in variant_rows(variant)]
    report = ParityReport(tolerance, tuple(rows), (*left_out, *not_run), not_run=tuple(not_run))
    if report.passed:
        return report
    return replace(report, hint=_hint(report, asked, _Engine(converter == "native", handlers)))


def _onnx_rows_or_none(reference: Reference, not_run: list[str]) -> list[Row]:
    """ONNX Runtime's rows; where it cannot load the model, none, and a note."""
    try:
        return list(_onnx_rows(reference))
    except CannotLoadError as exc:
        not_run.append(f"{reference.exported.name}: not compared with ONNX Runtime: {exc.what}")
        return []


def _onnx_rows(reference: Reference) -> Iterator[Row]:
    name = reference.exported.name
    try:
        model = OnnxModel(reference.exported.onnx)
    except CannotLoadError:
        raise
    except ParityError as exc:
        for case in reference.cases:
            yield from _failed(name, case.name, ONNX_RUNTIME, case.outputs, exc)
        return
    for case in reference.cases:
        try:
            got = model(case.inputs)
        except ParityError as exc:
            yield from _failed(name, case.name, ONNX_RUNTIME, case.outputs, exc)
        else:
            yield from _compared(name, case.name, ONNX_RUNTIME, case.outputs, got)


def _saved_model_rows(
    served: SavedModel, reference: Reference, permutations: Mapping[str, Sequence[int]]
) -> Iterator[Row]:
    for case in reference.cases:
        yield from _served_rows(served, reference.exported.name, case, permutations)


def _served_rows(
    served: SavedModel, signature: str, case: Case, permutations: Mapping[str, Sequence[int]]
) -> Iterator[Row]:
    try:
        got = served(signature, to_served(case.inputs, permutations))
    except ParityError as exc:
        yield from _failed(signature, case.name, SAVED_MODEL, case.outputs, exc)
    else:
        yield from _compared(signature, case.name, SAVED_MODEL, case.outputs, got)


def to_served(arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """PyTorch's inputs in the order of axes that is served (another one only with layout nhwc)."""
    return {
        name: np.ascontiguousarray(np.transpose(array, permutations[name])) if name in permutations else array
        for name, array in arrays.items()
    }


def _failed(
    signature: str, draw: str, runtime: str, outputs: Mapping[str, Array], exc: ParityError
) -> Iterator[Row]:
    for name in outputs:
        yield Row(signature, draw, runtime, _problem(name, exc.what))


def _compared(
    signature: str, draw: str, runtime: str, want: Mapping[str, Array], got: Mapping[str, Array]
) -> Iterator[Row]:
    for difference in differences(want, got):
        yield Row(signature, draw, runtime, difference)


def differences(want: Mapping[str, Array], got: Mapping[str, Any]) -> list[Difference]:
    """Every output of either side, in the order of `want`; one that only one side has is a problem."""
    out = []
    for name in (*want, *(n for n in got if n not in want)):
        if name not in got:
            out.append(_problem(name, f"not among the outputs {sorted(got)}"))
        elif name not in want:
            out.append(_problem(name, "the PyTorch model has no such output"))
        elif not isinstance(got[name], np.ndarray | np.generic):
            out.append(_problem(name, f"expected a tensor, got a {type(got[name]).__name__}"))
        else:
            out.append(compare(name, np.asarray(want[name]), np.asarray(got[name])))
    return out


def _problem(output: str, problem: str) -> Difference:
    return Difference(output, math.inf, math.inf, problem)


def variant_rows(variant: VariantResult) -> Iterator[Row]:
    """The comparison of one TFLite file; only float32 is gated."""
    for draw, difference in variant.differences:
        gated = variant.variant == "float32"
        yield Row("serving_default", draw, f"tflite-{variant.variant}", difference, gated)


@dataclass(frozen=True)
class _Engine:
    """What can say which layer diverges."""

    native: bool
    handlers: HandlerTable | None


def _hint(report: ParityReport, asked: Sequence[Reference], engine: _Engine) -> str | None:
    """Diagnose the failing call with the smallest inputs: the cheapest to run with every value kept."""
    wrong: dict[tuple[str, str], set[str]] = {}
    for row in report.failures:
        if not row.runtime.startswith("tflite-"):
            wrong.setdefault((row.signature, row.draw), set()).add(row.runtime)
    every = [(reference.exported, case) for reference in asked for case in reference.cases]
    calls = [(exported, case) for exported, case in every if (exported.name, case.name) in wrong]
    if not calls:
        return None
    exported, case = min(calls, key=lambda call: sum(array.nbytes for array in call[1].inputs.values()))
    call = divergence.Call(exported, case.inputs, case.outputs, report.tolerance)
    return _diagnosis(call, wrong[exported.name, case.name], engine)


def _diagnosis(call: divergence.Call, wrong: Collection[str], engine: _Engine) -> str:
    if ONNX_RUNTIME in wrong:
        return divergence.export_at_fault(call, also_served=SAVED_MODEL in wrong)
    return divergence.conversion_at_fault(call, native=engine.native, handlers=engine.handlers)


def check_golden(golden: Golden, saved_model: Path) -> ParityReport:
    """Ask the SavedModel, and the model.tflite beside it if there is one, for the golden calls: needs no PyTorch.

    Raises:
        ParityError: TensorFlow cannot load the SavedModel at all.
    """
    served = SavedModel(saved_model)
    rows: list[Row] = []
    for case in golden.cases:
        restored = {side: _restored(golden, case, side) for side in ("in", "out")}
        rows += _served_rows(served, case.signature, Case(case.name, restored["in"], restored["out"]), {})
    if (saved_model / MODEL_FILE).is_file():
        rows += _fast_path_rows(golden, saved_model)
    return ParityReport(golden.tolerance, tuple(rows))


def _fast_path_rows(golden: Golden, folder: Path) -> Iterator[Row]:
    from bundler.tflite.fast_path import answer_golden

    try:
        answers = answer_golden(folder, [case.inputs for case in golden.cases])
    except StatusError as exc:
        error = ParityError(f"model.tflite cannot be run: {exc}")
        for case in golden.cases:
            yield from _failed(case.signature, case.name, FAST_PATH, case.outputs, error)
        return
    for case, got in zip(golden.cases, answers, strict=True):
        yield from _compared(case.signature, case.name, FAST_PATH, case.outputs, got)


def _restored(golden: Golden, case: GoldenCase, side: str) -> dict[str, Array]:
    import ml_dtypes

    arrays = case.inputs if side == "in" else case.outputs
    coded = {name for name in arrays if f"{case.signature}/{case.name}/{side}/{name}" in golden.bfloat16}
    return {name: a.view(ml_dtypes.bfloat16) if name in coded else a for name, a in arrays.items()}
