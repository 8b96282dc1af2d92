"""Digests of layers from one push to the next, so that an unchanged bundle of many gigabytes is not read again.

The key has everything that the digests depend on: the sizes and sums in bundle.json, and what the file system says about each
file (device, inode, size and both times, in nanoseconds), as git's index has it. A file that was written while it was read, or
just before, is not trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bundler.delivery.oci.descriptors import Descriptor
from bundler.delivery.oci.layers import LAYER, Layer, Sealed
from bundler.process.cache import cache_dir

_FORM = 1
"""Changes with the form of a layer."""
_TICK = 0.1
"""Seconds that a file must not have changed before it is read; clocks of file systems tick a hundred times per second or more."""


def known(layer: Layer) -> Sealed | None:
    """Return a layer's digests from an earlier push, if no file has changed since."""
    state = _state(layer)
    return _read(_path(state), layer) if state else None


def seal(layer: Layer, read: Callable[[], Sealed | None]) -> Sealed | None:
    """Return what a reading of a layer returns, and keep it for the next push.

    Args:
        layer: the layer.
        read: reads the files and returns the digests, or None if it was interrupted.

    Raises:
        VerifyError: a file differs from bundle.json.
    """
    began, before = time.time(), _state(layer)
    sealed = read()
    if sealed is not None and before is not None and before == _state(layer) and before[1] < began - _TICK:
        _write(_path(before), sealed)
    return sealed


def _path(state: tuple[str, float]) -> Path:
    return cache_dir() / "layers" / f"{state[0]}.json"


def _state(layer: Layer) -> tuple[str, float] | None:
    """Return a key for the present files of a layer, and when the newest of them changed; None if a file is missing."""
    rows: list[object] = [_FORM, layer.title, list(layer.folders)]
    newest = 0.0
    for file in layer.files:
        try:
            found = (layer.root / file.name).stat()
        except OSError:
            return None
        newest = max(newest, found.st_mtime, found.st_ctime)
        facts = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        rows.append([file.name, file.entry.size, file.entry.sha256, *facts])
    return hashlib.sha256(json.dumps(rows).encode("utf-8")).hexdigest(), newest


def _read(path: Path, layer: Layer) -> Sealed | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        row = json.loads(path.read_text("utf-8"))
        if row["size"] == layer.size:
            descriptor = Descriptor(LAYER, row["digest"], row["size"], layer.annotations)
            return Sealed(descriptor, row["diff_id"], int(row["checksum"]))
    return None


def _write(path: Path, sealed: Sealed) -> None:
    """Keep digests; a folder that cannot be written only costs time."""
    row = {
        "digest": sealed.descriptor.digest, "size": sealed.descriptor.size, "diff_id": sealed.diff_id,
        "checksum": sealed.checksum,
    }  # fmt: skip
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(row), "utf-8")
        draft.replace(path)
