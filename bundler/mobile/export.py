"""Writes the folder of a mobile export, completely or not at all.

- <model>-<variant>.tflite: a file with metadata
- <model>-labels.txt, <model>-vocab.txt: the labels and the vocabulary, if given
- python/, kotlin/, swift/, cpp/, js/: code that calls the model, a library that it uses, and a test with golden data
- golden/: inputs, the tensors that they become, and answers, for these tests
- web/: a page that runs the files in a browser
- README.md: sizes, latencies, accuracy, operators
- export.json: the same in machine-readable form
- SHA256SUMS: checksums for sha256sum -c
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bundler.bundle import journal
from bundler.bundle.manifest import FileEntry, files_under
from bundler.bundle.staging import unwritable
from bundler.errors import PublishError, TfliteError, UsageError, VerifyError
from bundler.mobile.calls import call_of, class_name, module_name
from bundler.mobile.exported import ExportedModel
from bundler.mobile.golden import make_golden
from bundler.mobile.labels import read_output_labels
from bundler.mobile.metadata import Image, Labels, Tensors, model_metadata
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing, read_model
from bundler.mobile.readme import readme
from bundler.mobile.snippets import libraries, snippets
from bundler.mobile.tasks import tasks_of
from bundler.mobile.vocabulary import Vocabulary, read_vocabulary
from bundler.mobile.web import PAGE, web_page
from bundler.process.extras import require
from bundler.render.files import write_text
from bundler.tflite.delegates import chosen, readiness
from bundler.tflite.lowering import fitted, with_minimum
from bundler.tflite.packed import pack
from bundler.tflite.runner import TfliteModel
from bundler.tflite.runtimes import Runtime, parse_target, requirements_of
from bundler.validation.bundle import Bundle
from bundler.validation.unsafe import refuse_unsafe
from serving.texts import shell_command

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class ExportOptions:
    """The selection and additional data for an export.

    Attributes:
        models: names of the models; empty for all that have TFLite files.
        version: the version; None for the latest of each model.
        variants: names of the variants; empty for all.
        labels: `FILE` or `OUTPUT=FILE` with one label per line, for a single model.
        allow_unsafe_ops: whether files may have operators that reach out of the model.
        mean, std: normalization of an image's pixels (0 to 255), one number or one per channel; empty for that of bundle.yaml.
        tokenizer: a tokenizer or vocabulary for MediaPipe's text tasks, for a single model; None for none.
        target_runtime: the oldest runtime that has to run the files, such as `litert==1.4`; None for any.
    """

    models: tuple[str, ...] = ()
    version: int | None = None
    variants: tuple[str, ...] = ()
    labels: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    allow_unsafe_ops: bool = False
    target_runtime: str | None = None
    tokenizer: str | None = None


def export_mobile(bundle: Bundle, out: Path, options: ExportOptions | None = None) -> list[ExportedModel]:
    """Write the files that an app needs into a new folder.

    Args:
        bundle: the bundle.
        out: the folder, which must be empty or not exist.
        options: what to export; None for the defaults.

    Returns:
        The exported models.

    Raises:
        UsageError: the folder is not empty, a model or variant does not exist, or labels or normalization do not fit.
        VerifyError: a file of the bundle has changed since it was built.
        UnsafeModelError: a file does more than compute, and that is not allowed.
        TfliteError: metadata cannot be added to a file, or the target runtime cannot run it.
        PublishError: the folder cannot be written.
        MissingExtraError: the packages of `tfbundle[serve]`, among them LiteRT, are not installed.
    """
    require("serve", "An export for mobile apps")
    options = options or ExportOptions()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already exists.", fix="give a new folder with -o", code="TFB1004")
    target = parse_target(options.target_runtime) if options.target_runtime else None
    models = [_normalized(model, options) for model in _models(bundle, options)]
    parts = {model.name: _Parts(_labels(model, options), _vocabulary(model, options), target) for model in models}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            exported = [_write_model(staging, model, parts[model.name]) for model in models]
            _write_overview(staging, bundle.name, exported)
            staging.chmod(0o755)
            journal.sync_tree(staging)
            staging.replace(out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as exc:
        raise _unwritable(exc, out) from exc
    return exported


def _unwritable(exc: OSError, out: Path) -> PublishError:
    error = unwritable(exc, out)
    return PublishError(
        error.what.replace("The bundle's folder", "The folder"), where=error.where, fix=error.fix, code=error.code
    )


def _models(bundle: Bundle, options: ExportOptions) -> list[MobileModel]:
    names = options.models or tuple(n for n in bundle.models() if bundle.record(n, options.version).get("tflite"))
    if not names:
        raise UsageError(
            f"No model of {bundle.path} has TFLite files.",
            fix="build the bundle with TFLite, e.g. --tflite float16,dynamic",
            code="TFB4501",
        )
    if (options.labels or options.tokenizer) and len(names) > 1:
        raise UsageError(
            f"{'--labels' if options.labels else '--tokenizer'} needs a single model.",
            fix=f"choose one with --model: {', '.join(names)}",
            code="TFB1006",
        )
    _check_file_names(names)
    if not options.allow_unsafe_ops:
        refuse_unsafe(bundle, {name: _chosen(bundle, name, options.version) for name in names}, served=False, tflite=True)
    return [read_model(bundle, name, options.version, options.variants) for name in names]


def _check_file_names(models: Sequence[str]) -> None:
    """Check that no two models share the files of their code: `a-b` and `a_b` would.

    Raises:
        UsageError: two do.
    """
    by_file: dict[str, str] = {}
    for model in models:
        for file in (f"python/{module_name(model).lower()}", f"kotlin/{class_name(model).lower()}"):
            other = by_file.setdefault(file, model)
            if other != model:
                raise UsageError(
                    f"The code of {other} and of {model} would be in the same files.",
                    fix=f"export them one by one: --model {shell_command(model)}",
                    code="TFB1006",
                )


def _chosen(bundle: Bundle, name: str, version: int | None) -> list[int]:
    return bundle.versions(name)[-1:] if version is None else [version]


def _normalized(model: MobileModel, options: ExportOptions) -> MobileModel:
    """Return the model with the user's normalization, and check the preprocessing against its image input."""
    if (options.mean or options.std) and model.variants[0].pixels:
        raise UsageError(
            f"The files of {model.name} normalize pixels themselves, so mean and std are not allowed.",
            fix="omit --mean and --std, or build the model with other tflite.images",
            code="TFB1306",
        )
    if options.mean or options.std:
        declared = model.preprocessing or Preprocessing()
        model = replace(model, preprocessing=replace(declared, mean=options.mean or (0.0,), std=options.std or (1.0,)))
    if model.preprocessing is None:
        return model
    images = [image for spec in model.variants[0].inputs if (image := Image.of(spec))]
    if not images:
        if not (options.mean or options.std):
            return replace(model, preprocessing=None)
        raise UsageError(
            f"The model {model.name!r} does not take an image with 1 or 3 channels, so mean and std are not allowed.",
            where=", ".join(map(str, model.variants[0].inputs)),
            code="TFB1306",
        )
    for name, values in (("mean", model.preprocessing.mean), ("std", model.preprocessing.std)):
        if len(values) not in (1, images[0].channels):
            raise UsageError(
                f"{name} has {len(values)} numbers, but the image has "
                f"{'1 channel' if images[0].channels == 1 else f'{images[0].channels} channels'}.",
                fix="give one number, or one per channel",
                code="TFB1306",
            )
    if 0 in model.preprocessing.std:
        raise UsageError(
            "std must not be 0, because pixels are divided by it.",
            fix="give the training's std, for pixels of 0 to 255",
            code="TFB1306",
        )
    resize = model.preprocessing.resize
    height, width = (resize, resize) if isinstance(resize, int) else resize or (images[0].height, images[0].width)
    if model.preprocessing.crop and (height < images[0].height or width < images[0].width):
        raise UsageError(
            f"tflite.images.resize {resize} is smaller than the crop of {images[0].height}x{images[0].width}.",
            fix="increase resize in bundle.yaml, and build the model again",
            code="TFB1306",
        )
    return model


def _labels(model: MobileModel, options: ExportOptions) -> Labels | None:
    if options.labels is None:
        return None
    labels = read_output_labels(options.labels, model.variants[0].outputs)
    return replace(labels, file=f"{model.name}-labels.txt")


def _vocabulary(model: MobileModel, options: ExportOptions) -> Vocabulary | None:
    if options.tokenizer is None:
        return None
    vocabulary = read_vocabulary(options.tokenizer, model.variants[0].inputs)
    return replace(vocabulary, file=f"{model.name}-vocab.txt")


@dataclass(frozen=True)
class _Parts:
    """What goes into the files of a model, and the oldest runtime that has to run them."""

    labels: Labels | None
    vocabulary: Vocabulary | None
    target: Runtime | None

    @property
    def associated(self) -> dict[str, bytes]:
        """The associated files, by name."""
        return {part.file: part.content for part in (self.labels, self.vocabulary) if part}


def _write_model(folder: Path, model: MobileModel, parts: _Parts) -> ExportedModel:
    files = {variant.name: f"{model.name}-{variant.name}.tflite" for variant in model.variants}
    for variant in model.variants:
        _write_variant(folder / files[variant.name], model, variant, parts)
    labels = parts.labels
    for name, content in parts.associated.items():
        (folder / name).write_bytes(content)
    call = call_of(model, files)
    golden = make_golden(call, lambda variant, inputs: TfliteModel(folder / variant.file)(inputs), labels)
    for name, content in golden.files.items():
        path = folder / golden.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    calls = snippets(call, golden, labels)
    for relative, text in (libraries() | calls).items():
        write_text(folder / relative, text)
    tasks = {variant.name: tasks_of(model, variant, parts.vocabulary) for variant in model.variants}
    return ExportedModel(model, labels, files, tuple(calls), tasks)


def _write_variant(path: Path, model: MobileModel, variant: MobileVariant, parts: _Parts) -> None:
    original = variant.path.read_bytes()
    tensors = Tensors.of(original)
    _check_names(model, variant, tensors)
    metadata = model_metadata(model, variant, parts.labels, tensors, parts.vocabulary)
    file = fitted(original, parts.target, f"file {variant.path.name}") if parts.target else original
    path.write_bytes(pack(with_minimum(file), metadata, parts.associated))
    _check_same_outputs(variant, path)


def _check_names(model: MobileModel, variant: MobileVariant, tensors: Tensors) -> None:
    """Check that bundle.json names the tensors of a file.

    Raises:
        VerifyError: it does not.
    """
    sides = (
        (tensors.inputs, variant.inputs, model.signature.inputs), (tensors.outputs, variant.outputs, model.signature.outputs),
    )  # fmt: skip
    for names, recorded, signature in sides:
        for specs in (recorded, signature):
            missing = [name for name in names if name not in {spec.name for spec in specs}]
            if missing:
                raise VerifyError(
                    f"bundle.json describes {variant.path.name} wrongly: it does not name the tensor {missing[0]!r}.",
                    fix="build the model again",
                    code="TFB5102",
                )


def _check_same_outputs(variant: MobileVariant, path: Path) -> None:
    """Check that a file with metadata has the same outputs as the bundle's file, bit for bit.

    Raises:
        TfliteError: an output differs, or the file cannot be run.
    """
    rng = np.random.default_rng(0)
    before, after = TfliteModel(variant.path), TfliteModel(path)
    inputs = {
        spec.name: rng.integers(0, 2, [int(size) for size in spec.dims if isinstance(size, int)]).astype(spec.dtype)
        for spec in before.inputs
    }
    want, got = before(inputs), after(inputs)
    for name, array in want.items():
        if got[name].tobytes() != array.tobytes():
            raise TfliteError(f"With metadata, the output {name} of {path.name} is different.", code="TFB4502")


def _write_overview(folder: Path, title: str, exported: Sequence[ExportedModel]) -> None:
    page = web_page(title, exported)
    for path, text in page.items():
        write_text(folder / path, text)
    write_text(folder / "README.md", readme(title, folder, exported))
    record = {"models": [_record(folder, model) for model in exported], **({"web": PAGE} if page else {})}
    write_text(folder / "export.json", json.dumps(record, indent=2) + "\n")
    lines = [f"{FileEntry.of(path).sha256}  {path.relative_to(folder).as_posix()}\n" for path in files_under(folder)]
    write_text(folder / SUMS, "".join(lines))


def _record(folder: Path, exported: ExportedModel) -> dict[str, Any]:
    model = exported.model
    return {
        "name": model.name,
        "version": model.version,
        "signature": "serving_default",
        **({"labels": exported.labels.file} if exported.labels else {}),
        "calls": list(exported.calls),
        "variants": [
            _variant_record(folder / exported.files[variant.name], variant, exported.tasks[variant.name])
            for variant in model.variants
        ],
    }


def _variant_record(path: Path, variant: MobileVariant, tasks: Mapping[str, str]) -> dict[str, Any]:
    entry = FileEntry.of(path)
    return {
        "variant": variant.name,
        "file": path.name,
        "size_bytes": entry.size,
        "sha256": entry.sha256,
        "inputs": [str(spec) for spec in variant.inputs],
        "outputs": [str(spec) for spec in variant.outputs],
        **({"model_dtypes": dict(variant.model_dtypes)} if variant.model_dtypes else {}),
        "mediapipe": {task: problem or "ready" for task, problem in tasks.items()},
        "latency_ms": {str(threads): ms for threads, ms in variant.latency_ms.items()},
        "accuracy": variant.accuracy,
        "operators": dict(variant.operators),
        "runtime": requirements_of(path.read_bytes()).to_json(),
        "delegates": {each.delegate.name: each.to_json() for each in readiness(path.read_bytes(), chosen([]))},
        **({"load_ms": variant.load_ms} if variant.load_ms is not None else {}),
        **({"delegated": variant.delegation["share"], "delegation": dict(variant.delegation)} if variant.delegation else {}),
    }
