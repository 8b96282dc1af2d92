"""Hashes of the data that a build reads: of files, and of arrays whatever file or function they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from bundler.values.arrays import Array

_CHUNK = 1 << 20


class ArraysDigest:
    """The sha256 of a sequence of calls: for each array, in the order of names, its name, dtype, shape and values."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.calls = 0

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Add one call or sample."""
        self.calls += 1
        for name, array in sorted(arrays.items()):
            self._hash.update(f"{name}\0{array.dtype.name}\0{list(array.shape)}\0".encode())
            is_plain = array.dtype.kind in "biufc"
            self._hash.update(np.ascontiguousarray(array).data if is_plain else repr(array.tolist()).encode())

    def hexdigest(self) -> str:
        """Return the sha256 of what was added."""
        return self._hash.hexdigest()


def arrays_sha256(calls: Iterable[Mapping[str, Array]]) -> str:
    """Return the sha256 of calls or samples (`ArraysDigest`)."""
    digest = ArraysDigest()
    for call in calls:
        digest.add(call)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_sha256(paths: Iterable[Path], folder: Path) -> str:
    """Return the sha256 of the list that `sha256sum` prints for files, by paths relative to `folder`, in the order of paths."""
    lines = (f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in sorted(paths))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
