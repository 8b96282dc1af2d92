"""Builds and judges the forms of a SavedModel in lower precision, and selects the golden data that they can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler import adapters
from bundler.converters import Bfloat16Converter, Converter
from bundler.errors import TfbundleError, UsageError
from bundler.saved_model.summarize import GraphSummary, summarize
from bundler.saved_model.write import write
from bundler.validation.precision import SLOWER, Form, Judged, Subject, answerable, golden_tolerance, judge, served_form
from bundler.validation.report import ParityReport
from bundler.values.comparison import Row
from serving.cpu import bfloat16_instructions, bfloat16_note

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import ModelSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.reference import ReferenceOutputs


@dataclass(frozen=True)
class LowerPrecision:
    """A form of a SavedModel that may be served.

    Attributes:
        judged: its measurements and verdict.
        folder: the SavedModel.
        cases: PyTorch's outputs that the form answers within `tolerance`; empty if it is rejected.
        tolerance: the largest relative error of its golden data.
        size_bytes: size of the SavedModels `float32` and `bfloat16`, for a form with one of its own.
    """

    judged: Judged
    folder: Path
    cases: tuple[ReferenceOutputs, ...] = ()
    tolerance: float = 0.0
    size_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the form can be served."""
        return self.judged.error is None


@dataclass(frozen=True)
class GoldenData:
    """PyTorch's outputs for the golden data, their tolerance, and the SavedModel to serve if it is not the one in float32.

    `fast_path_tolerance` is that of a model.tflite in lower precision beside the SavedModel.
    """

    references: Sequence[ReferenceOutputs]
    tolerance: float
    saved_model: Path | None
    fast_path_tolerance: float | None = None


@dataclass(frozen=True)
class Forms:
    """The forms of a SavedModel in lower precision, as far as they were requested.

    Attributes:
        lower: the SavedModel in bfloat16.
        flag: the SavedModel that is served, with the server's flag --mixed_precision=bfloat16.
    """

    lower: LowerPrecision | None = None
    flag: LowerPrecision | None = None

    @property
    def errors(self) -> tuple[TfbundleError, ...]:
        """Why forms are not served."""
        return tuple(form.judged.error for form in (self.lower, self.flag) if form is not None and form.judged.error)

    def served_graph(self, graph: GraphSummary, saved_model: Path) -> GraphSummary:
        """Return the graph of the SavedModel that is served; `graph` is that of the one in float32."""
        return summarize(saved_model) if self.lower is not None and self.lower.passed else graph

    def golden_data(self, references: Sequence[ReferenceOutputs], tolerance: float) -> GoldenData:
        """Return the golden data that the served form answers; of the references, if that is the one in float32."""
        folder = self.lower.folder if self.lower is not None and self.lower.passed else None
        for form in (self.flag, self.lower):
            if form is not None and form.passed:
                return GoldenData(form.cases, form.tolerance, folder)
        return GoldenData(references, tolerance, None)

    def extended(self, report: ParityReport) -> ParityReport:
        """Return the report with the comparison of the SavedModel in bfloat16, which has a gate instead of the tolerance."""
        return replace(report, rows=(*report.rows, *(self.lower.judged.rows if self.lower is not None else ())))

    def to_json(self) -> dict[str, Any]:
        """Return the records of the forms."""
        named = {"precision": self.lower, "mixed_precision": self.flag}
        instructions = list(bfloat16_instructions())
        return {
            name: {
                **form.judged.to_json(),
                "instructions": instructions,
                **({"size_bytes": dict(form.size_bytes)} if form.size_bytes else {}),
            }
            for name, form in named.items()
            if form is not None
        }

    def notices(self, model: str) -> tuple[str, ...]:
        """Return what the user should know about the speed of the SavedModel in bfloat16."""
        if self.lower is None or not self.lower.passed or max(self.lower.judged.ratios, default=0) <= SLOWER:
            return ()
        worst = max(self.lower.judged.ratios)
        return (f"{model}: in bfloat16, a call takes up to {worst:.2f} of its time in float32 here. {bfloat16_note()}",)


@dataclass(frozen=True)
class Workshop:
    """The parts from which the forms of a model are made.

    Attributes:
        model: the model's spec.
        subject: the model as the gate sees it.
        derived: PyTorch's outputs for the derived signatures.
        saved_model: the SavedModel in float32.
        work: a folder for temporary files.
        margin: the relative change of a score that keeps its class, for derived signatures.
    """

    model: ModelSpec
    subject: Subject
    derived: Sequence[ReferenceOutputs]
    saved_model: Path
    work: Path
    margin: float

    def bfloat16(self, converter: Converter, converted: ConvertedModel) -> LowerPrecision:
        """Lower the converted model to bfloat16, write its SavedModel, and judge it."""
        assert isinstance(converter, Bfloat16Converter)
        folder = self.work / "bfloat16"
        try:
            lowered = converter.in_bfloat16(converted)
            write(lowered, folder)
        except TfbundleError as exc:
            return LowerPrecision(Judged("precision", error=exc), folder)
        judged = judge("precision", self.subject, self.saved_model, folder, self.work / "run-bfloat16")
        if judged.error is not None:
            return LowerPrecision(judged, folder)
        derived: tuple[ReferenceOutputs, ...] = ()
        if self.model.derived:
            derived = self._derive(lowered, judged.rows)
            folder = self.work / "bfloat16-derived"
            write(lowered, folder)
        sizes = {"float32": _size(self.saved_model), "bfloat16": _size(folder)}
        return replace(self._selected("precision", judged, folder, derived), size_bytes=sizes)

    def flag(self, folder: Path, derived: Sequence[ReferenceOutputs]) -> LowerPrecision:
        """Judge the server's flag --mixed_precision=bfloat16 for the SavedModel that is to be served.

        Args:
            folder: the SavedModel.
            derived: PyTorch's outputs for its derived signatures.
        """
        judged = judge("mixed_precision", self.subject, self.saved_model, folder, self.work / "run-flag")
        if judged.error is not None:
            return LowerPrecision(judged, folder)
        return self._selected("mixed_precision", judged, folder, derived)

    def _derive(self, lowered: Any, rows: Sequence[Row]) -> tuple[ReferenceOutputs, ...]:
        """Add the derived signatures; leave rows out whose class depends on rounding, if that leaves any."""
        margin = max((row.difference.max_rel for row in rows if row.difference.problem is None), default=self.margin)
        for each in (max(min(margin, 1.0), self.margin), self.margin):
            try:
                return adapters.derive(self.model, self.subject.references, lowered, self.subject.base, margin=each)
            except UsageError:
                if each == self.margin:
                    raise
        raise AssertionError

    def _selected(
        self, form: Form, judged: Judged, folder: Path, derived: Sequence[ReferenceOutputs]
    ) -> LowerPrecision:
        """Return the form with the cases that it answers, or rejected if it answers none of a signature."""
        tolerance = golden_tolerance(judged.rows)
        permutations: Mapping[str, Sequence[int]] = self.subject.permutations
        try:
            with served_form(form, folder) as run:
                cases = answerable(form, run, (*self.subject.references, *derived), permutations, tolerance)
        except TfbundleError as exc:
            return LowerPrecision(replace(judged, error=exc), folder)
        return LowerPrecision(judged, folder, cases, tolerance)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
