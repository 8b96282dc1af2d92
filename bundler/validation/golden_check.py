"""The comparison of a version's artifacts with its golden data, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bundler.errors import ParityError
from bundler.saved_model.runner import SavedModel
from bundler.validation.parity import served_rows
from bundler.validation.report import ParityReport
from bundler.values.arrays import Array
from bundler.values.comparison import FAST_PATH, Row, compared_rows, failed_rows
from bundler.values.reference import Case
from serving.golden.data import Golden, GoldenCase
from serving.protocol.status import StatusError
from serving.protocol.tflite_file import MODEL_FILE


def check_golden(golden: Golden, saved_model: Path) -> ParityReport:
    """Run the SavedModel, and the model.tflite beside it if there is one, on the golden inputs, and compare the outputs.

    Args:
        golden: the golden data of the version, with the tolerances of both files.
        saved_model: folder of the version.

    Raises:
        ParityError: TensorFlow cannot load the SavedModel at all.
    """
    served = SavedModel(saved_model)
    rows: list[Row] = []
    for case in golden.cases:
        restored = {side: _restored(golden, case, side) for side in ("in", "out")}
        rows += served_rows(served, case.signature, Case(case.name, restored["in"], restored["out"]), {})
    if (saved_model / MODEL_FILE).is_file():
        rows += _fast_path_rows(golden, saved_model)
    return ParityReport(golden.tolerance, tuple(rows))


def _fast_path_rows(golden: Golden, folder: Path) -> Iterator[Row]:
    from bundler.tflite.fast_path import answer_golden

    try:
        answers = answer_golden(folder, [case.inputs for case in golden.cases])
    except StatusError as exc:
        error = ParityError(f"model.tflite cannot be run: {exc}", code="TFB4205")
        for case in golden.cases:
            yield from failed_rows(case.signature, case.name, FAST_PATH, case.outputs, error)
        return
    for case, got in zip(golden.cases, answers, strict=True):
        for row in compared_rows(case.signature, case.name, FAST_PATH, case.outputs, got):
            yield replace(row, tolerance=golden.served_tolerance)


def _restored(golden: Golden, case: GoldenCase, side: str) -> dict[str, Array]:
    import ml_dtypes

    arrays = case.inputs if side == "in" else case.outputs
    coded = {name for name in arrays if f"{case.signature}/{case.name}/{side}/{name}" in golden.bfloat16}
    return {name: a.view(ml_dtypes.bfloat16) if name in coded else a for name, a in arrays.items()}
