"""Digests of files, remembered by path, size, time of change and inode, as a large weights file takes seconds to read."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from bundler.bundle.manifest import FileEntry, files_under

SMALLEST_REMEMBERED = 1 << 20
"""Digests of smaller files take less time to compute than to look up."""
_SETTLED_NS = 2_000_000_000
"""A file that changed within this time may change again without another time stamp, as file systems count in coarse steps."""
_BUSY_S = 10.0


class Hashes:
    """Computes sha256 digests, and remembers those of large files in a database that processes share.

    A database that is damaged or cannot be written is done without: it only saves time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, path: Path) -> str:
        """Return the digest of a file, or of all files of a folder with their names.

        Raises:
            OSError: a file cannot be read.
        """
        if path.is_dir():
            rows = [f"{self.of(file)}  {file.relative_to(path).as_posix()}\n" for file in files_under(path) if file.is_file()]
            return hashlib.sha256("".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
        status = path.stat()
        if status.st_size < SMALLEST_REMEMBERED:
            return FileEntry.of(path).sha256
        key = (str(path), status.st_size, status.st_mtime_ns, status.st_ino)
        known = self._known(key)
        if known is not None:
            return known
        digest = FileEntry.of(path).sha256
        if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._remember(key, digest)
        return digest

    def _known(self, key: tuple[str, int, int, int]) -> str | None:
        if not self._path.exists():
            return None
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as database:
            query = "SELECT digest FROM hashes WHERE path = ? AND size = ? AND changed = ? AND inode = ?"
            row = database.execute(query, key).fetchone()
            return str(row[0]) if row else None
        return None

    def _remember(self, key: tuple[str, int, int, int], digest: str) -> None:
        columns = "path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, inode INTEGER, digest TEXT"
        with suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as database, database:
                database.execute(f"CREATE TABLE IF NOT EXISTS hashes ({columns})")
                database.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)", (*key, digest))
