"""The check that a version of a bundle is what bundle.json records, before it is loaded.

A damaged SavedModel often loads: one byte of its graph may change a constant, and the answers with it. The variables have
checksums of their own, which TensorFlow checks (tensorflow/core/util/tensor_bundle/tensor_bundle.cc).
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from serving.protocol.status import Code, RefusedModelError

_MOST_VARIABLE_BYTES = 1 << 30
"""Variables of a larger total size are compared by size alone, as hashing them would delay the start by seconds."""

_PUBLISH_SECONDS = 30.0
"""How long a publication that is in progress is waited for: bundle.json is replaced after the version's folder appears."""

_CHUNK = 1 << 20
_LOADED = ("variables/", "assets/", "saved_model.", "model.tflite")
"""Beginnings of the paths that a loader reads. Other files, such as batching_params.pbtxt, may be added by hand."""

_FIX = "run `tfbundle verify DIR` on the bundle, then fetch it or build it again"


class _File(NamedTuple):
    size: int
    sha256: str


def manifest_of(path: str) -> Path | None:
    """Return the bundle.json of the bundle that a version's folder is in; None if the folder is in no bundle."""
    folder = Path(path).absolute()
    if len(folder.parts) < 5 or folder.parent.parent.name != "models":
        return None
    manifest = folder.parent.parent.parent / "bundle.json"
    return manifest if manifest.is_file() else None


def check_recorded(path: str) -> None:
    """Compare the files in a version's folder with the bundle's bundle.json. Do nothing for a folder that is in no bundle.

    Args:
        path: the version's folder.

    Raises:
        RefusedModelError: DATA_LOSS: a file has changed, is missing or was added, or bundle.json is damaged;
            FAILED_PRECONDITION: bundle.json has no such version.
    """
    manifest = manifest_of(path)
    if manifest is None:
        return
    folder = Path(path).absolute()
    prefix = f"models/{folder.parent.name}/{folder.name}/"
    recorded = _recorded_files(manifest, prefix)
    if not recorded:
        raise RefusedModelError(
            Code.FAILED_PRECONDITION,
            f"{prefix[:-1]} is not listed in {manifest}: it was copied there by hand, or its publication was interrupted; {_FIX}",
        )
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if name not in recorded and name.startswith(_LOADED) and not file.is_dir():
            raise _changed(prefix + name, "it is not listed in bundle.json")
    variables = sum(entry.size for name, entry in recorded.items() if name.startswith("variables/"))
    for name, entry in sorted(recorded.items()):
        if name.startswith("variables/") and variables > _MOST_VARIABLE_BYTES:
            _check_size(folder / name, entry, prefix + name)
        else:
            _check_content(folder / name, entry, prefix + name)


def _recorded_files(manifest: Path, prefix: str) -> dict[str, _File]:
    """Return the recorded files of a version by their paths in its folder, once no publication is in progress."""
    deadline = time.monotonic() + _PUBLISH_SECONDS
    while True:
        # Looked at first: a journal that is gone now belongs to a publication that has replaced bundle.json already.
        publishing = any(manifest.parent.glob(".staging-*/journal.json"))
        files = {name.removeprefix(prefix): entry for name, entry in _files(manifest).items() if name.startswith(prefix)}
        if files or not publishing or time.monotonic() > deadline:
            return files
        time.sleep(0.05)


def _files(manifest: Path) -> dict[str, _File]:
    try:
        entries: dict[str, Any] = json.loads(manifest.read_bytes())["files"]
        return {name: _File(int(entry["size"]), str(entry["sha256"])) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise RefusedModelError(Code.DATA_LOSS, f"{manifest} is damaged ({type(exc).__name__}: {exc}); {_FIX}") from exc


def _check_size(file: Path, entry: _File, shown: str) -> None:
    try:
        size = file.stat().st_size
    except OSError as exc:
        raise _changed(shown, exc.strerror or "it cannot be read") from exc
    if size != entry.size:
        raise _changed(shown, f"it has {size} bytes instead of {entry.size}")


def _check_content(file: Path, entry: _File, shown: str) -> None:
    _check_size(file, entry, shown)
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as exc:
        raise _changed(shown, exc.strerror or "it cannot be read") from exc
    if digest.hexdigest() != entry.sha256:
        raise _changed(shown, f"its sha256 is {digest.hexdigest()[:12]}… instead of {entry.sha256[:12]}…")


def _changed(shown: str, how: str) -> RefusedModelError:
    return RefusedModelError(Code.DATA_LOSS, f"{shown} is not the file that was built: {how}; {_FIX}")
