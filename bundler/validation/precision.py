"""Whether a SavedModel answers well enough in bfloat16: lowered by tfbundle, or by TensorFlow under `--mixed_precision=bfloat16`.

1. Both forms run in a process of their own (`precision_worker`), beside the SavedModel in float32, so that a crash is survived.
2. The gate is that of TFLite variants (`bundler.tflite.gate`), with the limits of the section `tflite`: the evaluate
   function's metric, or else agreement with PyTorch on calibration samples; without any, on the calls of the parity check.
3. NaN or infinity in another place than PyTorch's fails the gate, too.
4. Under the flag, TensorFlow may be slower than in float32. A model that takes more than SLOWER of that time at each measured
   batch size does not get the flag.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bundler.adapters.samples import SampleFormat, batch_axis
from bundler.errors import GateError, TfbundleError, VariantsError
from bundler.process import worker
from bundler.tflite import exchange
from bundler.tflite.draws import run_references
from bundler.tflite.evaluate import Evaluation, Predict
from bundler.tflite.gate import Agreement, Gate, GateFigures, agreement
from bundler.tflite.image_inputs import FileInputs
from bundler.tflite.model import CalibrationSamples
from bundler.tflite.rejected import RejectedVariant, variants_error
from bundler.tflite.sizes import static_shapes, static_sizes
from bundler.validation.tolerance import BASE
from bundler.values.arrays import Array
from bundler.values.comparison import Row, differences
from bundler.values.reference import Case, ReferenceOutputs, to_served
from serving.protocol.status import StatusError

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec
    from bundler.values.exported import ExportedSignature

Form = Literal["precision", "mixed_precision"]
Run = Callable[[str, Mapping[str, Array]], dict[str, Array]]
"""A function from a signature's name and inputs to its outputs."""

BFLOAT16 = "saved_model-bfloat16"
"""Name of a runtime in the parity report: the SavedModel with products in bfloat16."""

_WORKER = "bundler.validation.precision_worker"
_SPREAD = 4
"""How far golden answers may be off on another CPU, in units of the largest error on this one, as for other half precision."""

SLOWER = 1.05
"""The share of the float32 time from which a form counts as slower; measurements vary by a few percent."""

_SUBJECTS = {"precision": "bfloat16 SavedModel", "mixed_precision": "SavedModel with --mixed_precision=bfloat16"}
_KEYS = {"precision": "precision: bfloat16", "mixed_precision": "serving.mixed_precision"}
_STAYS = {"precision": "the float32 SavedModel is served", "mixed_precision": "the flag is left out"}


@dataclass(frozen=True)
class Judged:
    """The measurements of a form, and the reason if it is rejected.

    Attributes:
        form: `precision` for a SavedModel in bfloat16, `mixed_precision` for the flag of the server.
        accuracy: agreement with PyTorch (`GateFigures.to_json`).
        evaluation: the evaluate function's metric.
        latency_ms: `float32` and `bfloat16` -> batch size -> milliseconds.
        rows: the comparison of each output of each call with PyTorch's.
        error: why the form is rejected.
    """

    form: Form
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    error: TfbundleError | None = None

    @property
    def below_gate(self) -> bool:
        """Whether the form runs but is not accurate enough."""
        return isinstance(self.error, GateError)

    @property
    def ratios(self) -> list[float]:
        """The time in bfloat16 as a share of that in float32, for each measured batch size."""
        lower = self.latency_ms.get("bfloat16", {})
        return [lower[batch] / ms for batch, ms in self.latency_ms.get("float32", {}).items() if batch in lower and ms]

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json."""
        latency = {name: {batch: round(ms, 4) for batch, ms in times.items()} for name, times in self.latency_ms.items()}
        return {
            "dtype": "bfloat16",
            "passed": self.error is None,
            **({"reason": self.error.what, "below_gate": self.below_gate} if self.error else {}),
            **({"accuracy": dict(self.accuracy)} if self.accuracy else {}),
            **({"evaluation": dict(self.evaluation)} if self.evaluation else {}),
            **({"latency_ms": latency} if latency else {}),
        }


@dataclass(frozen=True)
class Subject:
    """The model whose forms are judged.

    Attributes:
        spec: its `tflite` section, with the limits of the gate.
        exported: serving_default, with PyTorch as the reference.
        references: PyTorch's outputs for all base signatures, serving_default first.
        permutations: `ConvertedModel.permutations`.
        base: folder that relative paths of the spec start from.
    """

    spec: TfliteSpec
    exported: ExportedSignature
    references: Sequence[ReferenceOutputs]
    permutations: Mapping[str, Sequence[int]]
    base: Path

    def calls(self) -> list[tuple[str, Case]]:
        """Return each call of the parity check with the name of its signature; the inputs are in the served order."""
        return [
            (reference.exported.name, Case(case.name, reference.to_served(case.inputs, self.permutations), case.outputs))
            for reference in self.references
            for case in reference.cases
        ]

    def samples(self) -> list[tuple[str, Case]]:
        """Return the calls with calibration samples; none without calibration data.

        Raises:
            TfbundleError: the data cannot be read.
        """
        if not self.spec.calibration:
            return []
        sizes = static_sizes(self.exported.signature, self.exported.examples, self.spec)
        read = CalibrationSamples.read(self.exported, self.spec, sizes, self.base)
        if read.problem:
            raise read.problem
        cases = run_references(self.exported, sizes, read.calibration, FileInputs(self.permutations))
        return [(self.exported.name, case) for case in cases.cases[cases.representative]]


def judge(form: Form, subject: Subject, base: Path, lower: Path, work: Path) -> Judged:
    """Run and judge a form of a SavedModel.

    Args:
        form: `precision` or `mixed_precision`.
        subject: the model.
        base: the SavedModel in float32.
        lower: the SavedModel in bfloat16; for `mixed_precision`, the one that is served.
        work: a new folder for temporary files.
    """
    judged = Judged(form)
    try:
        calls = subject.calls()
        samples = subject.samples()
        outputs, latency = _run(form, [*calls, *samples], subject, base, lower, work)
        judged = replace(judged, latency_ms=latency)
        rows = tuple(
            Row(signature, case.name, BFLOAT16, difference, gated=False)
            for (signature, case), got in zip(calls, outputs, strict=False)
            for difference in differences(case.outputs, got)
        )
        judged = replace(judged, rows=rows)
        graded = (samples, outputs[len(calls) :]) if samples else (calls, outputs)
        gate, figures = _graded(form, subject, *graded, lower)
        judged = replace(judged, accuracy=figures.to_json(), evaluation=gate.metric_json(figures))
        complaint = gate.complaint(figures) or next(broken(rows), None)
        if complaint:
            raise _gate_error(form, complaint)
        if form == "mixed_precision" and judged.ratios and min(judged.ratios) > SLOWER:
            raise _error(form, f"is slower here than in float32: it takes {min(judged.ratios):.2f} of the time or more")
    except TfbundleError as exc:
        return replace(judged, error=exc)
    return judged


def _run(
    form: Form, calls: Sequence[tuple[str, Case]], subject: Subject, base: Path, lower: Path, work: Path
) -> tuple[list[dict[str, Array]], dict[str, dict[str, float]]]:
    """Return the outputs of each call, and the latency, from the worker."""
    work.mkdir(parents=True)
    axes = {spec.name: axis for spec in subject.exported.signature.inputs if (axis := _served_axis(spec, subject)) is not None}
    setup = {
        "base": str(base.absolute()), "lower": str(lower.absolute()), "mixed": form == "mixed_precision",
        "signatures": [signature for signature, _ in calls], "batch_axes": axes,
    }  # fmt: skip
    (work / "setup.json").write_text(json.dumps(setup), "utf-8")
    exchange.save_calls(work / "draws", (case.inputs for _, case in calls))
    log = work / "worker.log"
    try:
        status = worker.run_module(_WORKER, [str(work)], log, timeout_s=worker.worker_timeout())
    except subprocess.TimeoutExpired as exc:
        raise _error(form, f"gave no answer within {exc.timeout:g} seconds") from exc
    result = work / "result.json"
    if not result.exists():
        raise _error(form, f"cannot run on this machine: its process {worker.how_it_ended(status, log).rstrip('.')}")
    answer = json.loads(result.read_text("utf-8"))
    if "error" in answer:
        raise _error(form, f"cannot run on this machine: {answer['error']}")
    return list(exchange.load_calls(work / "outputs")), answer["latency_ms"]


def _served_axis(spec: Any, subject: Subject) -> int | None:
    axis = batch_axis(spec)
    order = subject.permutations.get(spec.name)
    return axis if axis is None or order is None else list(order).index(axis)


def _graded(
    form: Form, subject: Subject, calls: Sequence[tuple[str, Case]], outputs: Sequence[Mapping[str, Array]], lower: Path
) -> tuple[Gate, GateFigures]:
    """Return the gate, and the agreement and metric that it judges.

    Raises:
        TfbundleError: the evaluate function raises an error.
    """
    pairs = [(signature, case.outputs, got) for (signature, case), got in zip(calls, outputs, strict=False)]
    measured = agreements(pairs, subject.exported.name)
    evaluate = subject.spec.evaluate
    if not evaluate:
        return Gate(subject.spec), GateFigures(measured, len(calls))
    sizes = static_sizes(subject.exported.signature, subject.exported.examples, subject.spec)
    shapes = static_shapes(subject.exported.signature, subject.exported.examples, sizes)
    function = Evaluation.of(evaluate, SampleFormat(subject.exported.signature, shapes), base=subject.base)
    torch_predict = Predict(subject.exported.signature, subject.exported.reference)
    reference = function.measure(torch_predict)
    data = function.data_json(torch_predict, subject.base)
    with served_form(form, lower) as run:

        def prediction(call: dict[str, Array]) -> dict[str, Array]:
            return run(subject.exported.name, to_served(call, subject.permutations))

        metric = function.measure(Predict(subject.exported.signature, prediction))
    return Gate(subject.spec, evaluate, reference, data), GateFigures(measured, len(calls), metric)


@contextmanager
def served_form(form: Form, folder: Path) -> Iterator[Run]:
    """Load a SavedModel as a server does, and yield a function from a signature's name and inputs to its outputs."""
    from serving.server.methods.predict import run_signature
    from serving.server.servables.saved_model import SavedModelServable, SessionOptions

    mixed = "bfloat16" if form == "mixed_precision" else ""
    servable = SavedModelServable.load(str(folder), SessionOptions(allow_unsafe_ops=True, mixed_precision=mixed))
    try:
        yield lambda signature, inputs: run_signature(servable, signature, inputs, read=inputs.__getitem__)
    finally:
        servable.close()


def agreements(
    calls: Sequence[tuple[str, Mapping[str, Array], Mapping[str, Array]]], default: str
) -> dict[str, Agreement]:
    """Return the agreement of each output over all calls, by its name; with the signature before it, except for `default`.

    Args:
        calls: the signature, PyTorch's outputs and the outputs of the form.
        default: the signature whose outputs have their own names.
    """
    found: dict[str, Agreement] = {}
    for name in dict.fromkeys(signature for signature, _, _ in calls):
        prefix = "" if name == default else f"{name}/"
        own = [(want, got) for signature, want, got in calls if signature == name]
        want, got = _as_rows([pair[0] for pair in own]), _as_rows([pair[1] for pair in own])
        found |= {prefix + output: figure for output, figure in agreement([want], [got]).items()}
    return found


def _as_rows(calls: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Join the outputs of all calls: as rows of the last axis if that has one size, else as single values."""
    joined = {}
    for name in calls[0] if calls else ():
        arrays = [call[name] for call in calls if name in call]
        widths = {array.shape[-1] if array.ndim else 0 for array in arrays}
        width = widths.pop() if len(widths) == 1 else 0
        joined[name] = np.concatenate([array.reshape(-1, width) if width else array.ravel() for array in arrays])
    return joined


def broken(rows: Sequence[Row]) -> Iterator[str]:
    """Yield why outputs cannot be compared at all."""
    for row in rows:
        if row.difference.problem:
            yield row.explain()


def _error(form: Form, reason: str) -> TfbundleError:
    return TfbundleError(f"The {_SUBJECTS[form]} {reason}; {_STAYS[form]}.", fix=f"leave out {_KEYS[form]}", code="TFB4303")


def _gate_error(form: Form, complaint: str) -> GateError:
    fix = f"leave out {_KEYS[form]}, or lower the limits of the gate (min_sqnr, min_top1, max_drop) if the error is harmless"
    return GateError(f"The {_SUBJECTS[form]} is below its gate: {complaint}; {_STAYS[form]}.", fix=fix)




def golden_tolerance(rows: Sequence[Row], least: float = BASE["bfloat16"], spread: float = _SPREAD) -> float:
    """Return the tolerance for golden data of a form in lower precision, from its differences on this machine.

    Args:
        rows: the differences.
        least: the smallest tolerance.
        spread: how far answers may be off on another CPU, in units of the largest error on this one.
    """
    errors = [row.difference.max_rel for row in rows if math.isfinite(row.difference.max_rel)]
    return max(least, spread * max(errors, default=0.0))


def answerable(
    form: Form,
    run: Run,
    references: Sequence[ReferenceOutputs],
    permutations: Mapping[str, Sequence[int]],
    tolerance: float,
) -> tuple[ReferenceOutputs, ...]:
    """Return the references with the cases that a form answers within the tolerance.

    Classes and other integers are compared exactly, and rounding changes some of them; golden data are made of the others.

    Raises:
        GateError: a signature has none.
    """
    kept = []
    for reference in references:
        cases = [case for case in reference.cases if _answers(run, reference, case, permutations, tolerance)]
        if not cases:
            raise _gate_error(form, f"no answer of the signature {reference.exported.name!r} equals PyTorch's")
        kept.append(replace(reference, cases=tuple(cases)))
    return tuple(kept)


def _answers(
    run: Run, reference: ReferenceOutputs, case: Case, permutations: Mapping[str, Sequence[int]], tolerance: float
) -> bool:
    try:
        outputs = run(reference.exported.name, reference.to_served(case.inputs, permutations))
    except StatusError:
        return False
    return all(difference.within(tolerance) for difference in differences(case.outputs, outputs))


def forms_error(
    rejected: Mapping[str, Sequence[RejectedVariant]], forms: Mapping[str, Sequence[TfbundleError]], bundle: object
) -> VariantsError:
    """Return the error for a bundle that was published without some of its variants or forms.

    Args:
        rejected: the missing TFLite variants, by model.
        forms: why forms in lower precision that a server would prefer are missing, by model.
        bundle: the published bundle, which the error carries.
    """
    variants = variants_error(rejected, bundle) if any(rejected.values()) else None
    flat = [(name, error) for name, of_model in forms.items() for error in of_model]
    if variants and not flat:
        return variants
    reasons = [f"{name}: {error.what}" + (f"\n  where: {error.where}" if error.where else "") for name, error in flat]
    below = any(isinstance(error, GateError) for _, error in flat)
    fixes = [error.fix for _, error in flat if error.fix]
    if variants:
        reasons, fixes = [variants.what, *reasons], [*([variants.fix] if variants.fix else []), *fixes]
        below = below or variants.exit_code == GateError.exit_code
    text = "\n".join(["Published in float32.", *reasons] if not variants else reasons)
    error = VariantsError(text, below_gate=below, fix="; ".join(dict.fromkeys(fixes)) or None)
    error.bundle = bundle
    return error
