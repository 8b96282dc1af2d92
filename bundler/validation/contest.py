"""The forms of a model that a build with `optimize` makes, and the one that it serves.

1. All forms are made from one export and one conversion: the SavedModel in float32, in bfloat16, and with the server's flag
   --mixed_precision=bfloat16; model.tflite in float32, and in float16 and int8 if there are data to judge them.
2. A form that cannot be made, cannot run here or is below its gate takes no part, and the build says why.
3. The others are measured (`choice`). Files of forms that are not served are dropped.
4. The SavedModel always stays servable: a model.tflite stands beside it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.converters import Bfloat16Converter, Converter
from bundler.errors import TfbundleError
from bundler.tflite import fast_path
from bundler.validation.choice import Choice, MadeForm, choose, golden_request
from bundler.validation.fast_path import LEFT_OUT, FastPathBuild, FastPathOutcome
from bundler.validation.lower_precision import Forms, GoldenData, LowerPrecision, Workshop
from bundler.values.comparison import Row
from serving.advise.forms import Accuracy, Form
from serving.advise.trials import Goal
from serving.cpu import bfloat16_instructions

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import FastPathForm
    from bundler.values.converted import ConvertedModel
    from bundler.values.reference import ReferenceOutputs

_BFLOAT16, _FLAG = "SavedModel bfloat16", "SavedModel float32 with --mixed_precision=bfloat16"
_NO_BFLOAT16 = "this CPU has no instructions for bfloat16"


@dataclass(frozen=True)
class Result:
    """The form that is served.

    Attributes:
        choice: how it was chosen.
        forms: the SavedModel in lower precision, or the server's flag, if that won.
        fast: the model.tflite, if that won, and the golden data.
    """

    choice: Choice
    forms: Forms
    fast: FastPathOutcome


@dataclass
class Contest:
    """The parts from which the forms of a model are made.

    Attributes:
        goal: what the form is chosen by.
        workshop: makes the SavedModel in lower precision.
        fast_path: makes a model.tflite.
        converter: the converter of the model.
        converted: the converted model.
        tolerance: the largest relative error of a model.tflite in float32.
        work: a folder for the files of all forms.
        tries_flag: whether the server's flag may be chosen, which all models of a bundle get.
        made: the forms that passed their gates.
        left_out: why others take no part.
    """

    goal: Goal
    workshop: Workshop
    fast_path: FastPathBuild
    converter: Converter
    converted: ConvertedModel
    tolerance: float
    work: Path
    tries_flag: bool = True
    made: list[MadeForm] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, references: Sequence[ReferenceOutputs], derived: Sequence[ReferenceOutputs]) -> Result:
        """Make and measure the forms.

        Args:
            references: PyTorch's outputs for the base signatures, serving_default first.
            derived: PyTorch's outputs for the derived signatures.
        """
        name = self.workshop.model.name
        self._add(self._form("SavedModel", "float32", self.workshop.saved_model), Accuracy())
        lower, flag = self._bfloat16(derived)
        golden = GoldenData((*references, *derived), self.tolerance, None)
        fast = dict(self._fast_paths(golden))
        request = golden_request(name, references[0], self.workshop.subject.permutations)
        choice = choose(self.goal, self.made, request, self.left_out)
        form = choice.winner.form
        if form.is_tflite:
            outcome = fast[form.precision]
            assert outcome.made
            shutil.move(outcome.made.path, self.fast_path.target)
            return Result(choice, Forms(), replace(outcome, made=replace(outcome.made, path=self.fast_path.target)))
        forms = Forms(lower if form.precision == "bfloat16" else None, flag if form.mixed_precision else None)
        return Result(choice, forms, FastPathOutcome(None, None, forms.golden_data((*references, *derived), self.tolerance)))

    def _bfloat16(self, derived: Sequence[ReferenceOutputs]) -> tuple[LowerPrecision | None, LowerPrecision | None]:
        """Make the SavedModel in bfloat16, and judge the flag for the one in float32."""
        lower = flag = None
        if not bfloat16_instructions():
            self.left_out |= {_BFLOAT16: _NO_BFLOAT16, _FLAG: _NO_BFLOAT16}
            return None, None
        if isinstance(self.converter, Bfloat16Converter):
            lower = self.workshop.bfloat16(self.converter, self.converted)
            self._judged(lower, _BFLOAT16, self._form("SavedModel", "bfloat16", lower.folder) if lower.passed else None)
        if self.tries_flag:
            flag = self.workshop.flag(self.workshop.saved_model, derived)
            self._judged(flag, _FLAG, replace(self.made[0].form, mixed_precision=True))
        return lower, flag

    def _judged(self, lower: LowerPrecision, name: str, form: Form | None) -> None:
        if lower.judged.error is not None or form is None:
            self.left_out[name] = _reason(lower.judged.error)
            return
        self._add(form, _accuracy(lower.judged.accuracy, lower.judged.rows))

    def _fast_paths(self, golden: GoldenData) -> Iterator[tuple[str, FastPathOutcome]]:
        """Make each model.tflite, and yield those that passed, by precision."""
        spec = self.workshop.model
        precisions: tuple[FastPathForm, ...] = ("float32",)
        if spec.tflite.calibration or spec.tflite.evaluate:
            precisions = ("float32", "float16", *(("int8",) if spec.tflite.calibration else ()))
        for precision in precisions:
            folder = self.work / f"tflite-{precision}"
            folder.mkdir(parents=True)
            build = replace(self.fast_path, target=folder / "model.tflite", work=folder / "work")
            try:
                fast_path.check_request(spec)
                outcome = build.make(precision, golden)
                problem = _reason(next(iter(outcome.errors), None)) or self._inexact(outcome, precision)
            except TfbundleError as exc:
                outcome, problem = FastPathOutcome(None, None, golden), _reason(exc)
            if problem or outcome.made is None:
                self.left_out[f"model.tflite {precision}"] = problem
                continue
            form = self._form("model.tflite", precision, outcome.made.path)
            self._add(form, _accuracy(outcome.made.to_json().get("accuracy", {}), outcome.rows))
            yield precision, outcome

    def _inexact(self, outcome: FastPathOutcome, precision: str) -> str:
        """Return what is wrong with the answers of a model.tflite in float32, which has the tolerance of the SavedModel."""
        wrong = (row for row in outcome.rows if not row.difference.within(self.tolerance))
        return next((row.explain() for row in wrong), "") if precision == "float32" else ""

    def _form(self, artifact: Any, precision: str, path: Path) -> Form:
        """Return a form, in a base path of its own that a server can load: its files are links."""
        base = self.work / f"{artifact}-{precision}" / self.workshop.model.name
        version = base / "1"
        if path.is_dir():
            shutil.copytree(path, version, copy_function=os.link)
        else:
            version.mkdir(parents=True)
            (version / path.name).hardlink_to(path)
        size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
        return Form(artifact, precision, base, size)

    def _add(self, form: Form, accuracy: Accuracy) -> None:
        self.made.append(MadeForm(form, accuracy))


def _accuracy(figures: Mapping[str, Any], rows: Sequence[Row]) -> Accuracy:
    ratios = [output["sqnr_db"] for output in figures.get("outputs", {}).values() if "sqnr_db" in output]
    errors = [row.difference.max_rel for row in rows]
    return Accuracy(max(errors, default=0.0), min(ratios, default=None))


def _reason(error: TfbundleError | None) -> str:
    """Return the first line of an error, as the reason why a form takes no part."""
    return error.what.removeprefix(LEFT_OUT).partition("\n")[0] if error else ""
