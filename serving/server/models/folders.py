"""Whether a version's folder is complete. No file says so, but a folder that is still being written changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.server.servables.bundle_files import manifest_of

_LONGEST_SECONDS = 60.0
"""A folder that keeps changing for longer is loaded as it is. At the start, all models wait for it, as ports open only after the
initial loads. A copy that takes longer fails to load, and is loaded again once its folder has changed."""


@dataclass(frozen=True)
class Fingerprint:
    """The files of a folder with sizes and times; two equal fingerprints mean that the folder did not change.

    Attributes:
        files: relative path, size in bytes and time of the last change in ns, of every file.
        newest: Unix time of the last change of any file, in seconds; 0 without files.
    """

    files: tuple[tuple[str, int, int], ...]
    newest: float

    @classmethod
    def of(cls, path: str) -> Fingerprint:
        """Return the fingerprint of a folder. A folder that does not exist has no files."""
        # ctime cannot be set, so that a copy that keeps the times of its source counts as changed.
        files = tuple(
            sorted((name, stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns)) for name, stat in _stats(Path(path)))
        )
        return cls(files, max((changed for _, _, changed in files), default=0) / 1e9)


def _stats(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                yield path.relative_to(root).as_posix(), path.stat()
            except OSError:  # removed since os.walk, or a broken link
                continue


def manifest_state(path: str) -> tuple[int, int] | None:
    """Return size and time of the last change of the bundle.json that records a version's folder; None if there is none."""
    manifest = manifest_of(path)
    try:
        stat = manifest.stat() if manifest else None
    except OSError:
        return None
    return (stat.st_size, stat.st_ctime_ns) if stat else None


def settled(path: str, seconds: float, cancelled: threading.Event) -> Fingerprint:
    """Wait until a recently changed folder has stopped changing.

    Args:
        path: the folder.
        seconds: how long the folder must be unchanged. If its files are older, there is no wait; with 0 there is never one.
        cancelled: ends the wait.

    Returns:
        The last fingerprint of the folder.
    """
    current = Fingerprint.of(path)
    deadline = time.monotonic() + _LONGEST_SECONDS
    if seconds <= 0 or abs(time.time() - current.newest) >= seconds:
        return current
    while not cancelled.wait(seconds) and time.monotonic() < deadline:
        previous, current = current, Fingerprint.of(path)
        if previous == current:
            break
    return current
