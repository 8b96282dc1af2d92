"""The proof: the same inputs through PyTorch, ONNX Runtime, the SavedModel loaded from disk, and TFLite.

1. `references` asks PyTorch once for every draw of every signature.
2. `check` asks the artifacts and compares (rule: `serving.golden.compare`). ONNX Runtime, the SavedModel and the
   float32 TFLite file are gated by the tolerance; the other variants are reported: their error is the price
   of their size.
3. `check_golden` asks a SavedModel again for the golden calls (`bundler.validation.golden`), without PyTorch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import ParityError
from bundler.graph.onnx_runtime import CannotLoadError, OnnxModel
from bundler.saved_model.runner import SavedModel
from bundler.validation import divergence
from bundler.validation.report import ParityReport
from bundler.values import input_draws
from bundler.values.comparison import ONNX_RUNTIME, SAVED_MODEL, Row, compared_rows, failed_rows
from bundler.values.reference import REFUSALS, Case, ReferenceOutputs, to_served

if TYPE_CHECKING:
    from bundler.converters.native.registry import HandlerTable
    from bundler.tflite import VariantResult
    from bundler.values.exported import ExportedSignature


def references(exported: Sequence[ExportedSignature], *, seed: int = 0) -> tuple[ReferenceOutputs, ...]:
    """PyTorch's answers to all draws of all signatures.

    A size that PyTorch refuses is left out and named. The example itself must run.
    """
    return tuple(_reference(one, seed) for one in exported)


def _reference(exported: ExportedSignature, seed: int) -> ReferenceOutputs:
    cases, left_out = [], []
    for draw in input_draws.draws(exported.signature, exported.examples, seed=seed):
        try:
            cases.append(Case(draw.name, draw.inputs, exported.reference(draw.inputs)))
        except REFUSALS as exc:
            if draw.name == "example":
                raise
            reason = f"{type(exc).__name__}: {(str(exc).strip().splitlines() or ['no message'])[0]}"
            left_out.append(f"{exported.name}, draw {draw.name}: PyTorch refuses it ({reason})")
    return ReferenceOutputs(exported, tuple(cases), tuple(left_out))


def check(
    asked: Sequence[ReferenceOutputs],
    saved_model: Path,
    *,
    tolerance: float,
    permutations: Mapping[str, Sequence[int]] | None = None,
    derived: Sequence[ReferenceOutputs] = (),
    variants: Sequence[VariantResult] = (),
    fast_path: Sequence[Row] = (),
    converter: str = "native",
    handlers: HandlerTable | None = None,
) -> ParityReport:
    """Compare ONNX Runtime, the SavedModel in the folder, and the TFLite variants with PyTorch.

    Args:
        asked: PyTorch's answers, from `references`.
        permutations: `ConvertedModel.permutations`.
        derived: PyTorch's answers through the signatures of `bundler.adapters`; only the SavedModel has these.
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


def _onnx_rows_or_none(reference: ReferenceOutputs, not_run: list[str]) -> list[Row]:
    """ONNX Runtime's rows; where it cannot load the model, none, and a note."""
    try:
        return list(_onnx_rows(reference))
    except CannotLoadError as exc:
        not_run.append(f"{reference.exported.name}: not compared with ONNX Runtime: {exc.what}")
        return []


def _onnx_rows(reference: ReferenceOutputs) -> Iterator[Row]:
    name = reference.exported.name
    try:
        model = OnnxModel(reference.exported.onnx)
    except CannotLoadError:
        raise
    except ParityError as exc:
        for case in reference.cases:
            yield from failed_rows(name, case.name, ONNX_RUNTIME, case.outputs, exc)
        return
    for case in reference.cases:
        try:
            got = model(case.inputs)
        except ParityError as exc:
            yield from failed_rows(name, case.name, ONNX_RUNTIME, case.outputs, exc)
        else:
            yield from compared_rows(name, case.name, ONNX_RUNTIME, case.outputs, got)


def _saved_model_rows(
    served: SavedModel, reference: ReferenceOutputs, permutations: Mapping[str, Sequence[int]]
) -> Iterator[Row]:
    for case in reference.cases:
        yield from served_rows(served, reference.exported.name, case, permutations)


def served_rows(
    served: SavedModel, signature: str, case: Case, permutations: Mapping[str, Sequence[int]]
) -> Iterator[Row]:
    try:
        got = served(signature, to_served(case.inputs, permutations))
    except ParityError as exc:
        yield from failed_rows(signature, case.name, SAVED_MODEL, case.outputs, exc)
    else:
        yield from compared_rows(signature, case.name, SAVED_MODEL, case.outputs, got)


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


def _hint(report: ParityReport, asked: Sequence[ReferenceOutputs], engine: _Engine) -> str | None:
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
    call = divergence.FailedCall(exported, case.inputs, case.outputs, report.tolerance)
    return _diagnosis(call, wrong[exported.name, case.name], engine)


def _diagnosis(call: divergence.FailedCall, wrong: Collection[str], engine: _Engine) -> str:
    if ONNX_RUNTIME in wrong:
        return divergence.export_at_fault(call, also_served=SAVED_MODEL in wrong)
    return divergence.conversion_at_fault(call, native=engine.native, handlers=engine.handlers)
