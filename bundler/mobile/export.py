"""Writes the folder of a mobile export: all of it, or nothing.

    <model>-<variant>.tflite    with metadata
    <model>-labels.txt          where labels were given
    python/ kotlin/ swift/ cpp/ the call
    README.md                   sizes, latencies, accuracy, operators
    export.json                 the same for machines
    SHA256SUMS                  for sha256sum -c
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bundler.bundle import journal
from bundler.bundle.manifest import FileEntry, files_under
from bundler.bundle.staging import unwritable
from bundler.errors import PublishError, TfliteError, UsageError
from bundler.mobile.exported import Exported
from bundler.mobile.labels import read_labels
from bundler.mobile.metadata import Image, Labels, Tensors, model_metadata
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing, read_model
from bundler.mobile.readme import readme
from bundler.mobile.snippets import snippets
from bundler.render.files import write_text
from bundler.tflite.packed import pack
from bundler.validation.bundle import Bundle

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Attributes:
        models: empty: all that have TFLite files.
        version: None: the latest of each.
        variants: empty: all.
        labels: `FILE` or `OUTPUT=FILE`, one label a line; goes with one model.
        mean, std: of an image's pixels (0 to 255), one number or one a channel; empty: as bundle.yaml says.
    """

    models: tuple[str, ...] = ()
    version: int | None = None
    variants: tuple[str, ...] = ()
    labels: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def export_mobile(bundle: Bundle, out: Path, options: ExportOptions | None = None) -> list[Exported]:
    """Write what an app needs into the new folder `out`.

    Raises:
        UsageError: `out` is there already, there are no such models or variants, or labels or normalization do not fit.
        VerifyError: the bundle's files are not as they were built.
        TfliteError: a file cannot carry metadata.
        PublishError: the folder cannot be written.
    """
    chosen = options or ExportOptions()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already.", fix="give a new folder with -o")
    models = [_normalized(model, chosen) for model in _models(bundle, chosen)]
    labels = {model.name: _labels(model, chosen) for model in models}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            done = [_write_model(staging, model, labels[model.name]) for model in models]
            _write_overview(staging, bundle.name, done)
            staging.chmod(0o755)
            journal.sync_tree(staging)
            staging.replace(out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as exc:
        raise _unwritable(exc, out) from exc
    return done


def _unwritable(exc: OSError, out: Path) -> PublishError:
    error = unwritable(exc, out)
    return PublishError(error.what.replace("The bundle's folder", "The folder"), where=error.where, fix=error.fix)


def _models(bundle: Bundle, options: ExportOptions) -> list[MobileModel]:
    names = options.models or tuple(n for n in bundle.models() if bundle.record(n, options.version).get("tflite"))
    if not names:
        raise UsageError(
            f"No model of {bundle.path} has TFLite files.", fix="build one with --tflite float16,dynamic, for example"
        )
    if options.labels and len(names) > 1:
        raise UsageError("Labels go with one model.", fix=f"name it with --model: {', '.join(names)}")
    return [read_model(bundle, name, options.version, options.variants) for name in names]


def _normalized(model: MobileModel, options: ExportOptions) -> MobileModel:
    """The model with the normalization that the user gave, checked against its images."""
    if options.mean or options.std:
        model = replace(model, preprocessing=Preprocessing(options.mean or (0.0,), options.std or (1.0,)))
    if model.preprocessing is None:
        return model
    images = [image for spec in model.variants[0].inputs if (image := Image.of(spec))]
    if not images:
        if not (options.mean or options.std):
            return replace(model, preprocessing=None)
        raise UsageError(
            f"{model.name} takes no image of one or three channels: mean and std have no place.",
            where=", ".join(map(str, model.variants[0].inputs)),
        )
    for name, values in (("mean", model.preprocessing.mean), ("std", model.preprocessing.std)):
        if len(values) not in (1, images[0].channels):
            raise UsageError(
                f"{name} has {len(values)} numbers; the image has {images[0].channels} channels.",
                fix="give one, or one a channel",
            )
    if 0 in model.preprocessing.std:
        raise UsageError("std is divided by; 0 is no deviation.", fix="give what the training divided by, on 0 to 255")
    return model


def _labels(model: MobileModel, options: ExportOptions) -> Labels | None:
    if options.labels is None:
        return None
    found = read_labels(options.labels, model.variants[0].outputs)
    return replace(found, file=f"{model.name}-labels.txt")


def _write_model(folder: Path, model: MobileModel, labels: Labels | None) -> Exported:
    files = {variant.name: f"{model.name}-{variant.name}.tflite" for variant in model.variants}
    for variant in model.variants:
        _write_variant(folder / files[variant.name], model, variant, labels)
    if labels is not None:
        (folder / labels.file).write_bytes(labels.content)
    calls = snippets(model, files[model.variants[0].name], labels)
    for path, text in calls.items():
        write_text(folder / path, text)
    return Exported(model, labels, files, tuple(calls))


def _write_variant(path: Path, model: MobileModel, variant: MobileVariant, labels: Labels | None) -> None:
    original = variant.path.read_bytes()
    metadata = model_metadata(model, variant, labels, Tensors.of(original))
    path.write_bytes(pack(original, metadata, {labels.file: labels.content} if labels else {}))
    _check_same(variant, path)


def _check_same(variant: MobileVariant, path: Path) -> None:
    """A file with metadata answers what the file of the bundle answers, bit by bit.

    Raises:
        TfliteError: it does not, or cannot be run.
    """
    from bundler.tflite.runner import TfliteModel

    rng = np.random.default_rng(0)
    before, after = TfliteModel(variant.path), TfliteModel(path)
    inputs = {
        spec.name: rng.integers(0, 2, [int(size) for size in spec.dims if isinstance(size, int)]).astype(spec.dtype)
        for spec in before.inputs
    }
    want, got = before(inputs), after(inputs)
    for name, array in want.items():
        if got[name].tobytes() != array.tobytes():
            raise TfliteError(f"With metadata, {path.name} answers something else ({name}).")


def _write_overview(folder: Path, title: str, done: Sequence[Exported]) -> None:
    write_text(folder / "README.md", readme(title, folder, done))
    write_text(folder / "export.json", json.dumps({"models": [_facts(folder, one) for one in done]}, indent=2) + "\n")
    lines = [f"{FileEntry.of(path).sha256}  {path.relative_to(folder).as_posix()}\n" for path in files_under(folder)]
    write_text(folder / SUMS, "".join(lines))


def _facts(folder: Path, one: Exported) -> dict[str, Any]:
    return {
        "name": one.model.name,
        "version": one.model.version,
        "signature": "serving_default",
        **({"labels": one.labels.file} if one.labels else {}),
        "calls": list(one.calls),
        "variants": [_variant_facts(folder / one.files[variant.name], variant) for variant in one.model.variants],
    }


def _variant_facts(path: Path, variant: MobileVariant) -> dict[str, Any]:
    entry = FileEntry.of(path)
    return {
        "variant": variant.name,
        "file": path.name,
        "size_bytes": entry.size,
        "sha256": entry.sha256,
        "inputs": [str(spec) for spec in variant.inputs],
        "outputs": [str(spec) for spec in variant.outputs],
        "latency_ms": {str(threads): ms for threads, ms in variant.latency_ms.items()},
        "accuracy": variant.accuracy,
        "operators": dict(variant.operators),
        **({"delegated": variant.delegated} if variant.delegated is not None else {}),
    }
