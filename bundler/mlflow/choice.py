"""Which version of which model of a bundle answers, in which form and by which signature."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.bundle.manifest import FileEntry
from bundler.bundle.reader import BundleReader
from bundler.errors import UsageError
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.signature import Signature, TensorSpec
from serving.protocol.tflite_file import MODEL_FILE

SAVED_MODEL = "saved_model"
FAST_PATH = "fast_path"
"""The model.tflite beside a SavedModel, which a server with --prefer_tflite_model answers with."""

SETTINGS = ("model", "version", "signature_name", "form")
"""The names of the settings, as MLflow records them; an empty text leaves a setting as it is."""


@dataclass(frozen=True)
class Choice:
    """What answers.

    Attributes:
        model: name of the model.
        version: number of the version.
        signature_name: name of the signature.
        form: `saved_model`, `fast_path`, or the name of a TFLite variant.
    """

    model: str
    version: int
    signature_name: str = SERVING_DEFAULT
    form: str = SAVED_MODEL

    @classmethod
    def of(cls, bundle: BundleReader, settings: Mapping[str, Any]) -> Choice:
        """Return the choice that settings make in a bundle.

        Args:
            bundle: the bundle.
            settings: any of SETTINGS. Without a model, the bundle must have only one; without a version, it is the latest. A
                version is a number, or a label.

        Raises:
            UsageError: the bundle has several models and none is chosen, or no such label, signature or form.
            VerifyError: the bundle has no such model or version.
        """
        model = str(settings.get("model") or "") or _only(bundle)
        version = _number(bundle, model, settings.get("version"))
        name = str(settings.get("signature_name") or SERVING_DEFAULT)
        _check("signature", name, bundle.signatures(model, version), model, version)
        form = str(settings.get("form") or SAVED_MODEL)
        _check("form", form, forms(bundle, model, version), model, version)
        if form not in (SAVED_MODEL, FAST_PATH):
            _check(f"signature of the form {form!r}", name, (SERVING_DEFAULT,), model, version)
        return cls(model, version, name, form)

    def changed(self, bundle: BundleReader, settings: Mapping[str, Any]) -> Choice:
        """Return this choice with other settings; one that is absent, None or empty stays.

        Raises:
            UsageError, VerifyError: as `of`.
        """
        given = {name: settings[name] for name in SETTINGS if settings.get(name) not in (None, "")}
        return Choice.of(bundle, {**self.to_json(), **given}) if given else self

    def to_json(self) -> dict[str, str]:
        """Return the settings as MLflow records them."""
        return {
            "model": self.model,
            "version": str(self.version),
            "signature_name": self.signature_name,
            "form": self.form,
        }

    def tensors(self, bundle: BundleReader) -> Signature:
        """Return what a call gives and gets: the signature of the SavedModel, or the inputs and outputs of the TFLite variant.

        A variant has sizes of its own, but takes and returns floats where its file has quantized integers.
        """
        signature = bundle.signatures(self.model, self.version)[self.signature_name]
        if self.form in (SAVED_MODEL, FAST_PATH):
            return signature
        variant = bundle.record(self.model, self.version)["tflite"][self.form]
        dtypes = {spec.name: spec.dtype for spec in (*signature.inputs, *signature.outputs)}
        sides = (tuple(_as_called(text, dtypes) for text in variant[side]) for side in ("inputs", "outputs"))
        return Signature(*sides)


def forms(bundle: BundleReader, model: str, version: int) -> tuple[str, ...]:
    """Return the forms in which a version can answer."""
    fast = bundle.layout.relative(bundle.layout.fast_path_file(model, version))
    has_fast_path = fast.endswith(MODEL_FILE) and fast in bundle.manifest.files
    return (SAVED_MODEL, *((FAST_PATH,) if has_fast_path else ()), *bundle.record(model, version)["tflite"])


def size_bytes(bundle: BundleReader, choice: Choice) -> int:
    """Return the size of what a server loads for a form, in bytes."""
    layout = bundle.layout
    if choice.form == SAVED_MODEL:
        return bundle.size_bytes(choice.model, choice.version)
    file = (
        layout.fast_path_file(choice.model, choice.version)
        if choice.form == FAST_PATH
        else layout.tflite_file(choice.model, choice.version, choice.form)
    )
    return bundle.manifest.files.get(layout.relative(file), FileEntry(0, "")).size


def _as_called(text: str, dtypes: Mapping[str, str]) -> TensorSpec:
    spec = TensorSpec.read(text)
    return TensorSpec(spec.name, dtypes.get(spec.name, spec.dtype), spec.dims)


def _only(bundle: BundleReader) -> str:
    names = bundle.models()
    if len(names) == 1:
        return names[0]
    raise UsageError(
        f"The bundle has {len(names)} models.",
        where=str(bundle.path),
        fix=f"choose one with model=: {', '.join(names)}",
        code="TFB1006",
    )


def _number(bundle: BundleReader, model: str, version: Any) -> int:
    """Return the number of a version, which is given by its number, as text or not, or by a label."""
    versions = bundle.versions(model)
    text = "" if version is None else str(version)
    if not text:
        return versions[-1]
    if text.isdecimal():
        bundle.record(model, int(text))
        return int(text)
    labels: Mapping[str, int] = bundle.manifest.spec["serving"]["labels"].get(model, {})
    if text not in labels:
        known = ", ".join((*map(str, versions), *sorted(labels)))
        raise UsageError(
            f"The model {model!r} has no version or label {text!r} in {bundle.path}.",
            fix=f"choose one of: {known}",
            code="TFB1006",
        )
    return labels[text]


def _check(kind: str, name: str, known: Collection[str], model: str, version: int) -> None:
    if name not in known:
        raise UsageError(
            f"Version {version} of the model {model!r} has no {kind} named {name!r}.",
            fix=f"choose one of: {', '.join(known)}",
            code="TFB1006",
        )
