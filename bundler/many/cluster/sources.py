"""The sources of the units as parcels: for each folder that relative paths start from, what is below it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.errors import SourceError
from bundler.many.cluster.parcels import pack
from bundler.many.inputs import named_paths
from bundler.many.units import Unit

LIMIT_BYTES = 4 << 30
"""The most that is sent to the nodes."""

_MARKS = ("pyvenv.cfg", "bundle.json")
"""Files that a virtual environment and a bundle have, which are not sent."""


@dataclass(frozen=True)
class Parcel:
    """A folder that has been handed over.

    Attributes:
        digest: the digest of its archive.
        chunks: what `put` returned for each chunk.
    """

    digest: str
    chunks: tuple[Any, ...]


def send(units: Sequence[Unit], put: Callable[[bytes], Any]) -> dict[str, Parcel]:
    """Hand over the folder of each unit, and return the parcels by folder.

    Hidden folders, virtual environments, bundles and __pycache__ are left out, unless a model names a file in them.

    Args:
        units: the units.
        put: takes a chunk and returns what stands for it.

    Raises:
        SourceError: a model names a file outside its folder by a relative path; a file cannot be read; or there is too much.
    """
    parcels = {}
    for base in sorted({unit.base for unit in units}):
        folder = Path(base)
        named = {path for unit in units if unit.base == base for path in _named(unit, folder)}
        files = sorted({*_walk(folder), *named})
        _check_size(folder, files)
        whole, chunks = hashlib.sha256(), []
        try:
            for chunk in pack((os.path.relpath(path, folder), path) for path in files):
                whole.update(chunk)
                chunks.append(put(chunk))
        except OSError as exc:
            raise SourceError(
                f"The files of {folder} cannot be sent to the cluster: {exc.strerror or exc}.",
                where=str(exc.filename or folder),
                fix="correct the permissions, leave the files alone while the build begins, or move the file out of the folder",
                code="TFB5257",
            ) from exc
        parcels[base] = Parcel(whole.hexdigest(), tuple(chunks))
    return parcels


def _named(unit: Unit, folder: Path) -> Iterator[Path]:
    """Yield the files that a unit names below its folder."""
    root = folder.resolve()
    for path in named_paths(unit.model, folder):
        if path.is_relative_to(root):
            files = (Path(each) for each in _walk(path)) if path.is_dir() else (path,)
            yield from (folder / file.relative_to(root) for file in files)
        elif str(path) not in unit.spec and not _is_linked(folder, path):
            raise SourceError(
                f"{unit.name} uses {path}, which is not below {folder}, so that the nodes of the cluster do not get it.",
                where=str(folder),
                fix="move it below that folder; or give its absolute path, and keep it at the same place on every node",
                code="TFB5257",
            )


def _is_linked(folder: Path, path: Path) -> bool:
    """Return whether a link in the folder leads to the path; what it leads to is sent."""
    return any(each.resolve() == path or path.is_relative_to(each.resolve()) for each in _links(folder))


def _links(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        yield from (path for name in (*folders, *files) if (path := Path(root, name)).is_symlink())


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, through links, but no folder twice."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        is_inner = Path(root) != folder
        if real in seen or (is_inner and any(mark in files for mark in _MARKS)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        yield from (path for name in sorted(files) if (path := Path(root, name)).is_file())


def _check_size(folder: Path, files: Sequence[Path]) -> None:
    size = sum(path.stat().st_size for path in files)
    if size > LIMIT_BYTES:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise SourceError(
            f"{folder} has {size / 2**30:.1f} GiB of files; at most {LIMIT_BYTES / 2**30:.0f} GiB are sent to a cluster.",
            where=f"the largest is {largest}",
            fix="keep bundle.yaml in a folder with nothing but the sources of the models; give large files by absolute paths, "
            "at the same place on every node",
            code="TFB5257",
        )
