"""Puts an entry of the cache into a bundle: under its version, and with the file names that belong to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.bundle.layout import version_of
from bundler.bundle.manifest import FileEntry, Manifest, files_under, finite
from bundler.many import failures
from bundler.many.cache import VERSION, CacheEntry, CorruptEntryError
from bundler.tflite.rejected import RejectedVariant
from bundler.values.portable_paths import PortablePaths

if TYPE_CHECKING:
    from bundler.pipeline import ModelBuild, Target


def current_version(entry: CacheEntry, manifest: Manifest | None) -> int | None:
    """Return the latest version of a model in a bundle if it is this entry's, else None.

    Raises:
        CorruptEntryError: the entry is not as it was written.
    """
    numbers = manifest.versions(entry.name) if manifest else []
    if not manifest or not numbers:
        return None
    latest = numbers[-1]
    record = {key: value for key, value in manifest.models[entry.name][latest].items() if key != "against"}
    if record != finite(entry.result()["record"]):
        return None
    artifacts = {name: checksum for name, checksum in entry.checksums().items() if name.startswith("files/")}
    ours = {_moved(name, entry.name, latest): checksum for name, checksum in artifacts.items()}
    theirs = {path: found for path, found in manifest.files.items() if version_of(path) == (entry.name, latest)}
    return latest if ours == theirs else None


def place(entry: CacheEntry, target: Target) -> ModelBuild:
    """Copy an entry's artifacts to their places in the staging folder, and return the build's result.

    Each copy is compared with its checksum, so what is published is what was built.

    Raises:
        CorruptEntryError: the entry is not as it was written; nothing of it is left in the staging folder.
        OSError: the staging folder cannot be written.
    """
    copied: list[Path] = []
    try:
        checksums = entry.checksums()
        result = entry.result()
        for name, checksum in checksums.items():
            source = entry.folder / name
            if source.is_relative_to(entry.layout.root):
                path = target.layout.root / _moved(name, entry.name, target.version)
                copied.append(path)
                _copy(source, path, checksum)
        surplus = [path for path in files_under(entry.layout.root) if path.relative_to(entry.folder).as_posix() not in checksums]
        if surplus:
            raise CorruptEntryError(f"{surplus[0].name} was added")
    except CorruptEntryError:
        for path in copied:
            path.unlink(missing_ok=True)
        raise
    _name_external_data(target)
    for graph in target.saved_model.rglob("saved_model.pb"):
        graph.with_name("assets").mkdir(exist_ok=True)  # TensorFlow makes one, and entries have files only
    return _build(result, target)


def read(entry: CacheEntry, target: Target) -> ModelBuild:
    """Return the result of an entry whose artifacts the bundle has already.

    Raises:
        CorruptEntryError: the entry is not as it was written.
    """
    return _build(entry.result(), target)


def _copy(source: Path, path: Path, checksum: FileEntry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        raise CorruptEntryError(f"{source.name} is missing")
    shutil.copyfile(source, path)
    if FileEntry.of(path) != checksum:
        raise CorruptEntryError(f"{source.name} is not as it was written")


def _moved(name: str, model: str, version: int) -> str:
    """Return the place of an entry's file in a bundle: `files/onnx/m/1.embed.onnx` -> `onnx/m/7.embed.onnx`."""
    parts = name.split("/")
    number, dot, suffix = parts[3].partition(".") if len(parts) > 3 else ("", "", "")
    if number != str(VERSION) or parts[2] != model or ".." in parts:
        raise CorruptEntryError(f"{name} belongs to another model")
    return "/".join([parts[1], model, f"{version}{dot}{suffix}", *parts[4:]])


def _name_external_data(target: Target) -> None:
    """Let the ONNX files name the file of their weights as it is called now; only a model of over 1.5 GB has one."""
    if target.version == VERSION:
        return
    from bundler.graph.external_data import move_with_data

    folder = target.layout.onnx_file(target.name, target.version).parent
    for data in sorted(folder.glob(f"{target.version}.*.data")):
        graph, aside = data.with_suffix(""), target.work / "external" / target.name
        aside.mkdir(parents=True, exist_ok=True)
        graph.replace(aside / graph.name)
        data.replace(aside / f"{VERSION}{data.name.removeprefix(str(target.version))}")
        move_with_data(aside / graph.name, graph, PortablePaths(target.base))


def _build(result: dict[str, Any], target: Target) -> ModelBuild:
    from bundler.pipeline import Chosen, ModelBuild

    ours, theirs = f"models/{target.name}/{target.version}", f"models/{target.name}/{VERSION}"
    notices = tuple(notice.replace(f"{theirs} ", f"{ours} ").replace(f"{theirs}/", f"{ours}/") for notice in result["notices"])
    rejected = tuple(_rejected(row) for row in result["rejected"])
    missing = tuple(map(failures.from_json, result["missing"]))
    chosen = result["choice"]
    choice = Chosen(chosen["model"], chosen["serving"], tuple(chosen["notices"])) if chosen else None
    return ModelBuild(target.name, target.version, result["record"], notices, rejected, missing, choice)


def _rejected(row: dict[str, Any]) -> RejectedVariant:
    error = failures.from_json({**row["error"], "what": row["explained"], "where": None, "fix": row["advice"]})
    return RejectedVariant(row["variant"], error)
