"""Whether a version's folder is complete: nothing says so on disk, but a folder that is still written to changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LONGEST_SECONDS = 600.0
"""A folder that changes for longer than that is loaded as it is."""


@dataclass(frozen=True)
class Fingerprint:
    """What is in a folder, without reading it.

    Attributes:
        files: relative path, size in bytes and time of the last change in ns, of every file.
        newest: Unix time of the last change of any file, seconds; 0 without files.
    """

    files: tuple[tuple[str, int, int], ...]
    newest: float

    @classmethod
    def of(cls, path: str) -> Fingerprint:
        """Look at a folder; one that is not there (any more) has no files."""
        found = [(name, stat) for name, stat in _stats(Path(path))]
        # ctime cannot be set: a copy that keeps the times of its source is seen as new, too.
        files = tuple(sorted((name, stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns)) for name, stat in found))
        return cls(files, max((changed for _, _, changed in files), default=0) / 1e9)


def _stats(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                yield path.relative_to(root).as_posix(), path.stat()
            except OSError:  # gone between the two looks, or a link that leads nowhere
                continue


def settled(path: str, seconds: float, cancelled: threading.Event) -> Fingerprint:
    """Wait until a folder that was changed just now has been the same for a while.

    Args:
        seconds: how long a folder has to be unchanged; one whose files are older is not waited for. 0 waits for none.
        cancelled: ends the waiting.

    Returns:
        What was in it last.
    """
    seen = Fingerprint.of(path)
    deadline = time.monotonic() + _LONGEST_SECONDS
    if seconds <= 0 or abs(time.time() - seen.newest) >= seconds:
        return seen
    while not cancelled.wait(seconds) and time.monotonic() < deadline:
        before, seen = seen, Fingerprint.of(path)
        if before == seen:
            break
    return seen
