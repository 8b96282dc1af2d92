"""Folders that are not bundles: what keeps a build out of them, and the versions of a model repository that a bundle takes in.

A model repository is what TensorFlow Serving reads: numbered version folders below a model's folder. `find_versions` knows three
places for them, relative to the folder that is to become a bundle:

    models/<model>/<version>/   a bundle's own layout: the versions stay where they are
    <model>/<version>/          one folder per model (TensorFlow Serving's /models)
    <version>/                  the base path of one model, which is named after the folder

Versions in the last two places are linked (or copied, where the file system has no hard links) to the first. The originals stay,
because a running server may read them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bundler.bundle.files import link_or_copy
from bundler.bundle.layout import BundleLayout, check_model_name, parse_version
from bundler.bundle.manifest import Record, files_under
from bundler.errors import ConversionError, UsageError
from bundler.saved_model.summarize import described, example_methods
from serving.regular_file import kind
from serving.texts import plural, shell_command

_HARMLESS = frozenset({".lock", ".gitignore", ".gitkeep", ".DS_Store", "lost+found"})
"""Names that an otherwise empty folder may hold: a bundle's lock, and what systems put into folders by themselves."""
_STAGING = ".staging-"
_SHOWN = 5
_NOT_COMPARED = "this version was adopted; tfbundle did not build it, and there is no reference to compare it with"
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FoundVersion:
    """A version of a model repository.

    Attributes:
        model: name of the model.
        number: the version's number.
        folder: its folder.
    """

    model: str
    number: int
    folder: Path


@dataclass(frozen=True)
class Adopted:
    """A version that a bundle takes in, with its record for bundle.json."""

    model: str
    number: int
    record: Record


def check_folder(bundle: BundleLayout, shown: Path) -> None:
    """Check that a build may make a new bundle in a folder: it does not exist, or is empty.

    Args:
        bundle: layout of the folder.
        shown: the folder as the user gave it.

    Raises:
        UsageError: the folder holds something else; the message names it, and how to adopt it if it is a model repository.
    """
    names = _contents(bundle.root)
    if not names:
        return
    try:
        found = find_versions(bundle)
    except UsageError:  # a repository with something in it that cannot be adopted; --adopt names it
        found = []
    elsewhere = shell_command("-o", shown / "bundle")
    what = f"{shown} is not a bundle, and it is not empty: it holds {_listed(bundle.root, names)}."
    if found:
        raise UsageError(
            f"{what} It looks like a model repository of TensorFlow Serving, with {named(found)}.",
            fix=f"add --adopt to keep and serve its versions, or build into another folder, e.g. {elsewhere}",
            code="TFB5007",
        )
    raise UsageError(what, fix=f"build into a new folder, e.g. {elsewhere}", code="TFB5007")


def _contents(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return sorted(p.name for p in root.iterdir() if p.name not in _HARMLESS and not p.name.startswith(_STAGING))


def _listed(root: Path, names: list[str]) -> str:
    shown = [f"{name}/" if (root / name).is_dir() else name for name in names[:_SHOWN]]
    more = len(names) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def named(versions: Collection[FoundVersion | Adopted]) -> str:
    """Return versions as text: `resnet 1, 2 and bert 7`."""
    numbers: dict[str, list[str]] = {}
    for each in versions:
        numbers.setdefault(each.model, []).append(str(each.number))
    return " and ".join(f"{model} {', '.join(of_model)}" for model, of_model in numbers.items())


def find_versions(bundle: BundleLayout) -> list[FoundVersion]:
    """Return the versions of the model repository in a folder, ordered by model and number.

    Raises:
        UsageError: a folder has the name of a version but cannot be one, or a version lies in two places.
    """
    parts = {path.name for path in (*bundle.version_folders, *bundle.generated)}
    folders = sorted(p for p in bundle.root.iterdir() if p.is_dir() and not p.is_symlink()) if bundle.root.is_dir() else []
    inside = sorted(p for p in bundle.models_dir.iterdir() if p.is_dir()) if bundle.models_dir.is_dir() else []
    found = [version for folder in inside for version in _versions(folder.name, folder)]
    of_models = [folder for folder in folders if folder.name not in parts and parse_version(folder.name) is None]
    outside = [version for folder in of_models for version in _versions(folder.name, folder)]
    outside += _versions(bundle.root.name, bundle.root)
    known = {(version.model, version.number) for version in found}
    return found + [version for version in outside if (version.model, version.number) not in known]


def _versions(model: str, base_path: Path) -> list[FoundVersion]:
    """Return the versions in the folder that TensorFlow Serving calls a model's base path."""
    found = []
    for folder in sorted(base_path.iterdir()):
        if not (folder.name.isascii() and folder.name.isdecimal() and folder.is_dir()):
            continue
        number = parse_version(folder.name)
        if number is None:
            raise UsageError(
                f"{folder} is version {int(folder.name)} to TensorFlow Serving, but tfbundle needs the number without zeros "
                "before it.",
                fix=f"rename the folder to {int(folder.name)}",
                code="TFB5008",
            )
        found.append(FoundVersion(model, number, folder))
    if found:
        check_model_name(model)
    return sorted(found, key=lambda version: version.number)


def check_models_dir(bundle: BundleLayout, found: Collection[FoundVersion]) -> None:
    """Check that the folder models/ holds nothing but versions.

    Raises:
        UsageError: it holds a file that belongs to no version.
    """
    inside = [version.folder for version in found]
    for path in files_under(bundle.models_dir):
        if not any(folder in path.parents for folder in inside):
            raise UsageError(
                f"{bundle.relative(path)} belongs to no version, so the folder cannot be adopted.",
                where=str(bundle.root),
                fix="move it out of models/",
                code="TFB5008",
            )


def make_record(version: FoundVersion, bundle: BundleLayout) -> Record:
    """Return what bundle.json says about an adopted version; only files are read, and no model is run.

    Raises:
        UsageError: the folder is not a SavedModel that a server can load, or has links or other special files.
    """
    folder = version.folder
    for path in files_under(folder):
        mode = path.lstat().st_mode
        if path.is_symlink() or not path.is_file():
            raise _refused(version, f"{path} is {kind(mode)}", "put the file itself in its place")
    try:
        found = described(folder)
    except ConversionError as exc:
        raise _refused(version, exc.what.rstrip("."), "move the version out of the folder") from exc
    if found.graph is None:
        raise _refused(version, "it has no signature", "export the model with a signature, or move the version away")
    changed = (folder / "saved_model.pb").stat().st_mtime
    origin = folder.relative_to(bundle.root).as_posix()
    return {
        "adopted": {"at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "path": origin},
        "created": datetime.fromtimestamp(changed, timezone.utc).isoformat(timespec="seconds"),
        "source": {"source": "adopted, not built by tfbundle"},
        "converter": "none",
        "layout": "keep",
        "opset": 0,
        "signatures": {name: signature.to_json() for name, signature in found.signatures.items()},
        **({"methods": kinds} if (kinds := example_methods(found.methods)) else {}),
        "parity": _no_parity(),
        "graph": found.graph.to_json(),
        "tflite": {},
        "stages": {},
    }


def _no_parity() -> dict[str, Any]:
    return {"tolerance": _TOLERANCE, "passed": False, "summary": [], "results": [], "left_out": [_NOT_COMPARED]}


def _refused(version: FoundVersion, why: str, fix: str) -> UsageError:
    what = f"Version {version.number} of {version.model!r} cannot be adopted: {why}."
    return UsageError(what, where=str(version.folder), fix=fix, code="TFB5008")


def link_version(source: Path, target: Path) -> None:
    """Put the files of a version into a new folder, as hard links where possible and else as copies."""
    for path in files_under(source):
        link_or_copy(path, target / path.relative_to(source))


def adopted_versions(models: Any) -> Iterator[tuple[str, int, str]]:
    """Yield (model, version, original path) of each adopted version in the `models` of a manifest."""
    for model, versions in models.items():
        for number, record in versions.items():
            if record.get("adopted"):
                yield model, int(number), record["adopted"]["path"]


def notice(adopted: Collection[Adopted]) -> str:
    """Return the sentence that tells the user what was adopted."""
    count = plural(len(adopted), "version")
    return f"Adopted {count}, which tfbundle neither changes nor compares with PyTorch: {named(adopted)}."
