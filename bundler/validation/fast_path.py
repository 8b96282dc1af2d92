"""The model.tflite of a build: made in float32 by the rules of parity, or in lower precision by those of TFLite variants.

1. In float32, each output must be within the tolerance of the SavedModel, or the build fails.
2. As float16 or int8, the file must pass the gate of TFLite variants (`bundler.tflite.gate`). One that cannot be made, is below
   its gate, or has NaN or infinity in another place than PyTorch is left out: the SavedModel is served.
3. Golden data then have a second tolerance, for servers that prefer the file, from its differences on this machine
   (`precision.golden_tolerance`). Their cases are those that the file answers within it: classes and other integers are compared
   exactly, and rounding changes some of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import GateError, TfbundleError
from bundler.tflite import fast_path
from bundler.tflite.build import make_resizable
from bundler.tflite.fast_path import FastPath
from bundler.tflite.rejected import RejectedVariant
from bundler.validation.lower_precision import GoldenData
from bundler.validation.precision import broken, golden_tolerance
from bundler.validation.tolerance import BASE
from bundler.values.comparison import Row

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import FastPathForm, TfliteSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.reference import ReferenceOutputs

_SPREAD = 2
"""How far answers may be off on another CPU, in units of the largest error on this one: a value that is rounded to another step
there adds as much noise again."""
LEFT_OUT = "The fast path is left out, and the SavedModel is served. "
"""The beginning of the message of a rejected file."""
_ADVICE = "leave out {flag}, or lower the limits of the gate (min_sqnr, min_top1, max_drop) if the error is harmless"


@dataclass(frozen=True)
class FastPathOutcome:
    """What became of the requested model.tflite.

    Attributes:
        made: the file; None if none was requested, or it was rejected.
        rejected: why it was rejected, by the name of its variant.
        golden: the golden data of the version.
    """

    made: FastPath | None
    rejected: RejectedVariant | None
    golden: GoldenData

    @property
    def rows(self) -> tuple[Row, ...]:
        """The comparison of the file with PyTorch."""
        return self.made.rows if self.made else ()

    @property
    def errors(self) -> tuple[TfbundleError, ...]:
        """Why the file is missing."""
        return (self.rejected.error,) if self.rejected else ()

    def to_json(self) -> dict[str, Any]:
        """Return the records for bundle.json."""
        if self.rejected:
            return {"fast_path_refused": {"form": self.rejected.variant, **self.rejected.to_json()}}
        return {"fast_path": self.made.to_json()} if self.made else {}


@dataclass(frozen=True)
class FastPathBuild:
    """The parts from which the model.tflite of a model is made.

    Attributes:
        converted: the converted model.
        references: PyTorch's outputs for serving_default.
        spec: the model's `tflite` section, with the calibration data and the limits of the gate.
        saved_model: folder of the SavedModel, whose signature the file gets.
        target: path of the model.tflite.
        work: a new folder for temporary files.
        base: folder that relative paths of the spec start from.
    """

    converted: ConvertedModel
    references: ReferenceOutputs
    spec: TfliteSpec
    saved_model: Path
    target: Path
    work: Path
    base: Path

    def make(self, form: FastPathForm, golden: GoldenData) -> FastPathOutcome:
        """Make the file.

        Args:
            form: what it computes in.
            golden: the golden data that the SavedModel answers.

        Raises:
            TfliteError: TensorFlow Serving cannot serve the model from TFLite, or the model cannot be converted to float32.
            UsageError: PyTorch rejects the sizes of the calibration calls.
        """
        if form == "float32":
            made = fast_path.build_fast_path(self.converted, self.references, self.saved_model, self.target, self.work)
            return FastPathOutcome(made, None, golden)
        fast_path.check_signature(self.converted.signatures[self.references.exported.name])
        self.work.mkdir(parents=True)
        variant = make_resizable(
            form, self.converted, self.references.exported, self.spec, self.work, base=self.base
        )
        if isinstance(variant, RejectedVariant):
            return FastPathOutcome(None, self._named(variant), golden)
        try:
            made = fast_path.build_fast_path(
                self.converted, self.references, self.saved_model, self.target, self.work / "server", variant
            )
            return FastPathOutcome(made, None, _golden_data(made, golden, form))
        except TfbundleError as exc:
            self.target.unlink(missing_ok=True)
            return FastPathOutcome(None, self._named(RejectedVariant(form, exc)), golden)

    def _named(self, rejected: RejectedVariant) -> RejectedVariant:
        """Return the rejected variant with an error about the model.tflite."""
        error, flag = rejected.error, f"fast_path: {rejected.variant}"
        what = f"{LEFT_OUT}{error.what}"
        if rejected.below_gate:
            return replace(rejected, error=GateError(what, fix=_ADVICE.format(flag=flag)))
        named = type(error)(what, where=error.where, fix=f"leave out {flag}", code=error.code)
        named.__cause__ = error.__cause__
        return replace(rejected, error=named)


def _golden_data(made: FastPath, golden: GoldenData, form: FastPathForm) -> GoldenData:
    """Return the golden data with the file's tolerance, without the cases that it does not answer within it.

    Raises:
        GateError: the file's outputs cannot be compared at all, or no case is left.
    """
    problem = next(broken(made.rows), None)
    if problem:
        raise GateError(f"The {form} model.tflite is below its gate: {problem}.")
    tolerance = golden_tolerance(made.rows, BASE["float16" if form == "float16" else "bfloat16"], _SPREAD)
    wrong = {row.draw for row in made.rows if not row.difference.within(tolerance)}
    references = [
        replace(reference, cases=tuple(case for case in reference.cases if case.name not in wrong))
        for reference in golden.references
    ]
    if not all(reference.cases for reference in references):
        raise GateError(f"The {form} model.tflite is below its gate: none of its answers equals PyTorch's.")
    return replace(golden, references=references, fast_path_tolerance=max(tolerance, golden.tolerance))
