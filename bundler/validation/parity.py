"""The parity check: the same inputs through PyTorch, ONNX Runtime, the SavedModel loaded from disk, and TFLite.

1. `run_references` runs PyTorch once on every draw of every signature.
2. `check` runs the artifacts on the same inputs and compares (rule: `serving.golden.compare`). ONNX Runtime, the SavedModel
   and the float32 TFLite file are gated by the tolerance; the errors of the other variants, the price of their size, are
   only reported. So is a difference of ONNX Runtime alone (`onnx_check`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import ParityError
from bundler.process.causes import cause_of
from bundler.saved_model.runner import SavedModel
from bundler.validation import divergence
from bundler.validation.onnx_check import judge, run_onnx
from bundler.validation.padding import check_padding
from bundler.validation.report import ParityReport
from bundler.values import input_draws
from bundler.values.comparison import ONNX_RUNTIME, SAVED_MODEL, Row, compared_rows, failed_rows
from bundler.values.exported import PYTORCH
from bundler.values.reference import REFUSALS, Case, ReferenceOutputs, to_served

if TYPE_CHECKING:
    from bundler.converters.native.registry import HandlerTable
    from bundler.tflite import VariantResult
    from bundler.values.exported import ExportedSignature


@dataclass(frozen=True)
class Engine:
    """The converter that made a SavedModel, as far as a diagnosis needs it.

    Attributes:
        native: whether it is the native one; only that can name the first layer that differs.
        handlers: the native converter's handlers; None: the built-in ones and those of installed packages.
    """

    native: bool = True
    handlers: HandlerTable | None = None


NATIVE = Engine()


def run_references(exported: Sequence[ExportedSignature], *, seed: int = 0) -> tuple[ReferenceOutputs, ...]:
    """Run PyTorch on all draws of all signatures.

    A draw that PyTorch refuses is left out, with the reason. The example itself must run.
    """
    return tuple(run_reference(signature, seed) for signature in exported)


def run_reference(exported: ExportedSignature, seed: int = 0) -> ReferenceOutputs:
    """Run PyTorch on all draws of one signature; see `run_references`."""
    cases, left_out = [], []
    for draw in input_draws.draws(exported.signature, exported.examples, seed=seed):
        try:
            cases.append(Case(draw.name, draw.inputs, exported.reference(draw.inputs)))
        except REFUSALS as exc:
            if draw.name == "example":
                raise
            reason = f"{type(exc).__name__}: {cause_of(exc) if str(exc).strip() else 'no message'}"
            left_out.append(f"{exported.name}, draw {draw.name}: {exported.referee.name} rejects it ({reason})")
    return ReferenceOutputs(exported, tuple(cases), tuple(left_out))


def check(
    references: Sequence[ReferenceOutputs],
    saved_model: Path,
    *,
    tolerance: float,
    permutations: Mapping[str, Sequence[int]] | None = None,
    derived: Sequence[ReferenceOutputs] = (),
    variants: Sequence[VariantResult] = (),
    fast_path: Sequence[Row] = (),
    engine: Engine = NATIVE,
) -> ParityReport:
    """Compare ONNX Runtime, the SavedModel in the folder, and the TFLite variants with PyTorch.

    A mismatch does not raise: see `passed`, `failures` and `error()` of the report.

    Args:
        references: PyTorch's outputs, from `run_references`.
        saved_model: folder of the SavedModel.
        tolerance: the largest relative error that passes.
        permutations: `ConvertedModel.permutations`.
        derived: PyTorch's outputs through the signatures of `bundler.adapters`, which only the SavedModel has.
        variants: the results of `tflite.build_variants`, which include their comparison.
        fast_path: the rows of the model.tflite beside the SavedModel; gated like the SavedModel.
        engine: the converter that made the SavedModel.

    Raises:
        ParityError: TensorFlow cannot load the SavedModel at all.
    """
    rows: list[Row] = []
    left_out = [note for reference in (*references, *derived) for note in reference.left_out]
    notes = [note for reference in references for note in _referee_note(reference)]
    by_onnx = [run_onnx(reference, tolerance) for reference in references]
    served = SavedModel(saved_model)  # one runtime at a time: each holds all weights
    for reference, calls in zip(references, by_onnx, strict=True):
        served_by = tuple(_saved_model_rows(served, reference, permutations or {}))
        onnx_rows, onnx_notes = judge(calls, reference, served_by, tolerance)
        rows += [*onnx_rows, *served_by]
        notes += onnx_notes
    for reference in derived:
        rows += _saved_model_rows(served, reference, {})
    padded = [check_padding(served, reference, permutations or {}, tolerance) for reference in (*references, *derived)]
    rows += fast_path
    rows += [row for variant in variants for row in variant_rows(variant)]
    referee = references[0].exported.referee.name if references else PYTORCH.name
    report = ParityReport(
        tolerance, tuple(rows), (*left_out, *notes), runtime_notes=tuple(notes), referee=referee,
        padded=tuple(answers for answers in padded if answers),
    )  # fmt: skip
    return report if report.passed else replace(report, hint=_hint(report, references, engine))


def _referee_note(reference: ReferenceOutputs) -> Iterator[str]:
    """Yield why something stands in for ONNX Runtime as the reference of an ONNX file, if it does."""
    referee = reference.exported.referee
    if referee.reason is not None:
        yield f"{reference.exported.name}: the reference is {referee.name}, because {referee.reason}"


def _saved_model_rows(
    served: SavedModel, reference: ReferenceOutputs, permutations: Mapping[str, Sequence[int]]
) -> Iterator[Row]:
    for case in reference.cases:
        yield from served_rows(served, reference.exported.name, case, permutations)


def served_rows(
    served: SavedModel, signature: str, case: Case, permutations: Mapping[str, Sequence[int]]
) -> Iterator[Row]:
    """Run one case through a signature of a SavedModel and yield the comparison with the case's outputs.

    Args:
        served: the SavedModel.
        signature: name of the signature.
        case: inputs in PyTorch's order of axes, and the reference outputs.
        permutations: `ConvertedModel.permutations`; empty if the inputs are in the served order already.
    """
    try:
        outputs = served(signature, to_served(case.inputs, permutations))
    except ParityError as exc:
        yield from failed_rows(signature, case.name, SAVED_MODEL, case.outputs, exc)
    else:
        yield from compared_rows(signature, case.name, SAVED_MODEL, case.outputs, outputs)


def variant_rows(variant: VariantResult) -> Iterator[Row]:
    """Yield the comparison of one TFLite file; only float32 is gated."""
    for draw, difference in variant.differences:
        gated = variant.variant == "float32"
        yield Row("serving_default", draw, f"tflite-{variant.variant}", difference, gated)


def _hint(report: ParityReport, references: Sequence[ReferenceOutputs], engine: Engine) -> str | None:
    """Diagnose the failing call with the smallest inputs: it is the cheapest to run with every value kept."""
    failed: dict[tuple[str, str], set[str]] = {}
    for row in report.failures:
        if not row.runtime.startswith("tflite-"):
            failed.setdefault((row.signature, row.draw), set()).add(row.runtime)
    calls = [
        (reference.exported, case)
        for reference in references
        for case in reference.cases
        if (reference.exported.name, case.name) in failed
    ]
    if not calls:
        return None
    exported, case = min(calls, key=lambda call: sum(array.nbytes for array in call[1].inputs.values()))
    call = divergence.FailedCall(exported, case.inputs, case.outputs, report.tolerance)
    return _diagnosis(call, failed[exported.name, case.name], engine)


def _diagnosis(call: divergence.FailedCall, runtimes: Collection[str], engine: Engine) -> str:
    if ONNX_RUNTIME in runtimes:
        return divergence.export_at_fault(call)
    return divergence.conversion_at_fault(call, native=engine.native, handlers=engine.handlers)
