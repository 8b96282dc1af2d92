"""The forms in which the models of bundles can be served, the gate for their answers, and the forms that were not built.

A form that computes in less than float32 is judged as at its build (`bundler.validation.precision`, `bundler.tflite.gate`), with
the limits of the model's section `tflite`, on the golden calls: PyTorch's answers are in the bundle, and PyTorch is not needed.
The evaluate function needs the user's code, so that its verdict is taken from the build's record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.bundle.files import own_file
from bundler.bundle.manifest import Record
from bundler.errors import UsageError
from bundler.spec.bundle_spec import ModelSpec, TfliteSpec
from bundler.spec.options import build_options
from bundler.tflite.gate import Gate, GateFigures
from bundler.validation.bundle import Bundle
from bundler.validation.precision import agreements
from bundler.values.arrays import Array
from bundler.values.comparison import differences
from serving.advise.forms import Accuracy, Form
from serving.advise.search import Judge
from serving.client.client import Client
from serving.cpu import bfloat16_instructions
from serving.golden.data import Golden
from serving.protocol.tflite_file import MODEL_FILE
from serving.texts import shell_command


@dataclass(frozen=True)
class FoundForms:
    """The forms of a model that can be measured.

    Attributes:
        forms: those that the bundles hold, the SavedModel of the first bundle first.
        absent: one sentence for each form that cannot be measured: why not, or how it is built.
    """

    forms: tuple[Form, ...]
    absent: tuple[str, ...]


def find_forms(bundles: Mapping[Path, Bundle], model: str, version: int | None = None) -> FoundForms:
    """Find the forms of a model in bundles, which hold builds of the same model.

    Args:
        bundles: the bundles by path, as the user gave it.
        model: the model's name.
        version: the version; None for the latest of each bundle.

    Raises:
        UsageError: the model has other signatures in one of the bundles than in the first one.
        VerifyError: a bundle does not have the model or the version.
    """
    forms: list[Form] = []
    absent: list[str] = []
    first = next(iter(bundles))
    signatures = bundles[first].signatures(model, version)
    for path, bundle in bundles.items():
        if bundle.signatures(model, version) != signatures:
            raise UsageError(
                f"The model {model!r} has other signatures in {path} than in {first}.",
                fix="give bundles of the same model, built with the same inputs",
                code="TFB1006",
            )
        label = bundle.name if len(bundles) > 1 else ""
        found = _forms_of(bundle, model, version)
        forms += (replace(form, source=path, label=label) for form in found.forms)
        absent += (f"{label + ': ' if label else ''}{sentence}" for sentence in found.absent)
    return FoundForms(tuple(forms), (*absent, *_not_built(first, bundles[first], model, version, forms)))


def _forms_of(bundle: Bundle, model: str, version: int | None) -> FoundForms:
    number = bundle.versions(model)[-1] if version is None else version
    record = bundle.record(model, number)
    folder = bundle.layout.version_dir(model, number)
    lower = record.get("precision") or {}
    precision = str(lower["dtype"]) if lower.get("passed") else "float32"
    saved_model = Form("SavedModel", precision, bundle.path, _saved_model_bytes(folder))
    forms, absent = [saved_model], []
    reason = _without_flag(record)
    if precision == "float32" and not reason:  # else its products are in bfloat16 already
        forms.append(replace(saved_model, mixed_precision=True))
    if reason:
        absent.append(f"SavedModel with --mixed_precision=bfloat16: {reason}")
    file = folder / MODEL_FILE
    if file.is_file():
        form = str((record.get("fast_path") or {}).get("form") or "float32")
        forms.append(Form("model.tflite", form, bundle.path, file.stat().st_size))
    return FoundForms(tuple(forms), tuple(absent))


def _saved_model_bytes(folder: Path) -> int:
    files = (file for name in ("saved_model.pb", "variables", "assets") for file in (folder / name, *(folder / name).rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file())


def _without_flag(record: Record) -> str:
    """Return why the server's flag --mixed_precision cannot be tried; an empty text if it can."""
    if not bfloat16_instructions():
        return "this CPU has no instructions for bfloat16."
    if record.get("adopted"):
        return "its version was adopted, so there are no golden data to judge its answers by."
    judged = record.get("mixed_precision") or {}
    return str(judged.get("reason", "")) if judged.get("below_gate") else ""


def _not_built(path: Path, bundle: Bundle, model: str, version: int | None, forms: Sequence[Form]) -> list[str]:
    """Return how the forms are built that no bundle has."""
    number = bundle.versions(model)[-1] if version is None else version
    entry = next((each for each in bundle.manifest.spec.get("models", ()) if each["name"] == model), None)
    if entry is None or bundle.is_adopted(model, number):
        return []
    spec = ModelSpec.model_validate(entry)
    sentences = []
    has_lower = any(not form.is_tflite and form.precision == "bfloat16" for form in forms)
    if not has_lower and bfloat16_instructions():
        how = _how_to_build(spec, path, "bfloat16", {"precision": "bfloat16", "fast_path": None})
        sentences.append(f"SavedModel bfloat16: not built. {how}")
    if not any(form.is_tflite for form in forms) and not spec.signatures and spec.labels is None:
        sentences.append(f"model.tflite: not built. {_how_to_build(spec, path, 'fast-path', {'fast_path': True})}")
    return sentences


def _how_to_build(spec: ModelSpec, path: Path, suffix: str, changes: Mapping[str, Any]) -> str:
    out = f"{path}-{suffix}"
    again = f"--bundle {shell_command(path)} --bundle {shell_command(out)}"
    words = build_command(spec.model_copy(update=dict(changes)))
    if words is None:
        change = ", ".join(f"{key}: {str(value).lower()}" for key, value in changes.items() if value)
        return f"Set {change} in bundle.yaml, run `tfbundle build bundle.yaml -o {shell_command(out)}`, and measure both: {again}"
    return f"Run `{shell_command(*words, '-o', out)}`, and measure both: {again}"


def build_command(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the command that builds a model, without its output; None if an option needs a bundle.yaml."""
    words = ["tfbundle", "build", spec.source]
    for option in build_options():
        section = spec.tflite if option.in_tflite else spec
        value, default = getattr(section, option.name), type(section).model_fields[option.name].default
        if value == default or option.name == "source":
            continue
        if not option.flag or not isinstance(value, (bool, int, float, str, tuple)):
            return None
        if isinstance(value, bool):
            words.append(option.flag if value else f"--no-{option.flag.removeprefix('--')}")
        elif isinstance(value, tuple) and option.field.option.repeat:
            words += (word for each in value for word in (option.flag, str(each)))
        else:
            words += (option.flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return tuple(words)


def judge_of(bundle: Bundle, model: str, version: int | None = None) -> Judge:
    """Return what judges the forms of a version (default: the latest): its golden data, or nothing if it was adopted.

    Raises:
        GoldenError: the golden data cannot be read.
    """
    number = bundle.versions(model)[-1] if version is None else version
    if bundle.is_adopted(model, number):
        return lambda form, target: Accuracy()
    entry = next((each for each in bundle.manifest.spec.get("models", ()) if each["name"] == model), None)
    limits = ModelSpec.model_validate(entry).tflite if entry else TfliteSpec()
    return GoldenJudge(Golden.load(own_file(bundle.path, bundle.layout.golden_file(model, number))), limits)


@dataclass(frozen=True)
class GoldenJudge:
    """Judges the answers of a served form to the golden calls of a bundle.

    Attributes:
        golden: the golden calls.
        limits: the model's `tflite` section, with the limits of the gate.
        timeout: seconds for an answer.
    """

    golden: Golden
    limits: TfliteSpec
    timeout: float = 60.0

    def __call__(self, form: Form, target: str) -> Accuracy:
        """Send the golden calls to a server, and judge its answers.

        Raises:
            ServingError: a call of serving_default fails.
        """
        calls: list[tuple[str, dict[str, Array], dict[str, Array]]] = []
        with Client(target, timeout=self.timeout) as client:
            for case in self.golden.cases:
                if form.is_tflite and case.signature != "serving_default":
                    continue
                got = client.predict(self.golden.model, self.golden.inputs(case), signature=case.signature)
                calls.append((case.signature, self.golden.outputs(case), got))
        return self._judged(form, calls)

    def _judged(self, form: Form, calls: Sequence[tuple[str, dict[str, Array], dict[str, Array]]]) -> Accuracy:
        found = [difference for _, want, got in calls for difference in differences(want, got)]
        worst = max((difference.max_rel for difference in found), default=0.0)
        figures = GateFigures(agreements([call for call in calls if _is_numeric(call[1])], "serving_default"), len(calls))
        ratios = [figure.sqnr_db for figure in figures.agreement.values() if figure.sqnr_db is not None]
        accuracy = Accuracy(worst, min(ratios, default=None))
        if form.is_lower:
            broken = next((difference.explain() for difference in found if difference.problem), "")
            problem = broken or Gate(self.limits).complaint(figures) or ""
            return replace(accuracy, problem=f"below its gate: {problem}" if problem else "")
        wrong = next((each for each in found if not each.within(self.golden.tolerance)), None)
        return replace(accuracy, problem=f"its answers differ from PyTorch's: {wrong.explain()}" if wrong else "")


def _is_numeric(outputs: Mapping[str, Array]) -> bool:
    return all(getattr(array, "dtype", None) is not None and array.dtype.kind in "biuf" for array in outputs.values())
