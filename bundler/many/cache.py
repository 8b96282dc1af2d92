"""The content-addressed cache of built models.

    requests/<k>.json     what was asked for -> the inputs of its last builds, each with the key of its entry
    entries/<key>/        one built model
        files/            its artifacts, at the paths of a bundle, as version 1
        result.json       its record and what else the build said
        checksums.json    size and sha256 of all of these; written last
    hashes.sqlite         digests of large files

As in ccache's direct mode: a request is the model's section, the settings of the bundle that change its artifacts, the versions
of the tools and the CPU. What a build reads is known only after it; so a request leads to lists of inputs with their digests,
and the key of an entry is the digest of a request and its inputs. An entry is written beside and renamed, so it is complete or
absent, also after `kill -9`; it is checked whenever it is used, as disks fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import FileEntry, files_under, hash_files
from bundler.bundle.staging import is_disk_full
from bundler.errors import PublishError, VerifyError
from bundler.many import inputs
from bundler.many.hashes import Hashes
from bundler.many.inputs import Inputs
from bundler.process.cache import cache_dir
from serving.regular_file import open_regular

SCHEMA = 1
MOST_ALTERNATIVES = 8
"""How many lists of inputs are kept for a request; the oldest is forgotten first."""
VERSION = 1
"""The number under which artifacts stand in an entry."""
_MAX_BYTES = 64 << 20


class CorruptEntryError(Exception):
    """An entry of the cache is not as it was written."""


@dataclass(frozen=True)
class CacheEntry:
    """A built model.

    Attributes:
        key: the digest of what was asked for and of all inputs.
        folder: the entry's folder.
        name: the model's name.
    """

    key: str
    folder: Path
    name: str

    @property
    def layout(self) -> BundleLayout:
        """The layout of its artifacts."""
        return BundleLayout(self.folder / "files")

    def checksums(self) -> dict[str, FileEntry]:
        """Return size and sha256 of every file, by its path in the folder.

        Raises:
            CorruptEntryError: the list is not as it was written, or that of another entry.
        """
        written = _read_json(self.folder / "checksums.json")
        if (written.get("key"), written.get("name")) != (self.key, self.name):
            raise CorruptEntryError("it is that of another model")
        try:
            return {str(path): FileEntry(int(size), str(sha256)) for path, (size, sha256) in written["files"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise CorruptEntryError("its list of checksums is incomplete") from exc

    def result(self) -> dict[str, Any]:
        """Return what the build said.

        Raises:
            CorruptEntryError: the file is not as it was written.
        """
        path = self.folder / "result.json"
        try:
            found = FileEntry.of(path, follow=False)
        except OSError as exc:
            raise CorruptEntryError(f"{path.name} cannot be read ({exc.strerror or exc})") from exc
        if found != self.checksums().get(path.name):
            raise CorruptEntryError(f"{path.name} is not as it was written")
        return _read_json(path)

    def check(self) -> None:
        """Compare every file with its checksum.

        Raises:
            CorruptEntryError: a file is missing, surplus, or has another content.
        """
        written = self.checksums()
        try:
            found = _entries_of(self.folder)
        except OSError as exc:
            raise CorruptEntryError(f"it cannot be read ({exc.strerror or exc})") from exc
        wrong = sorted(path for path in {*written, *found} if written.get(path) != found.get(path))
        if wrong:
            raise CorruptEntryError(f"{wrong[0]} is not as it was written")


def _entries_of(folder: Path) -> dict[str, FileEntry]:
    return hash_files(folder, [path for path in files_under(folder) if path != folder / "checksums.json"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path, follow=False) as file:
            content = json.loads(file.read(_MAX_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise CorruptEntryError(f"{path.name} cannot be read ({getattr(exc, 'strerror', None) or exc})") from exc
    if not isinstance(content, dict):
        raise CorruptEntryError(f"{path.name} is not a JSON object")
    return content


class Cache:
    """The cache in a folder, which many processes may use at the same time.

    Args:
        root: the folder; None: `models` in the folder that tfbundle keeps between runs.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or cache_dir() / "models").absolute()
        self.hashes = Hashes(self.root / "hashes.sqlite")

    def prepare(self) -> None:
        """Make the folder, before minutes of work.

        Raises:
            PublishError: it cannot be written.
        """
        with self.draft():
            pass

    def find(self, request: str, name: str, base: Path) -> CacheEntry | None:
        """Return the entry for a request whose inputs are as they were, or None. It is not checked yet.

        Args:
            request: the digest of what is asked for.
            name: the model's name.
            base: the folder that relative paths of the inputs start from.
        """
        for row in self._alternatives(request):
            entry = self.entry(str(row["key"]), name)
            if entry is not None and inputs.are_unchanged(row["inputs"], base, self.hashes):
                return entry
        return None

    def entry(self, key: str, name: str) -> CacheEntry | None:
        """Return the entry with a key, or None."""
        folder = self.folder(key)
        return CacheEntry(key, folder, name) if folder.is_dir() else None

    def _alternatives(self, request: str) -> list[dict[str, Any]]:
        with suppress(CorruptEntryError, KeyError, TypeError):
            rows = _read_json(self._request_file(request))["rows"]
            return [row for row in rows if isinstance(row["key"], str) and isinstance(row["inputs"], dict)]
        return []

    def inputs_of(self, request: str, key: str) -> Inputs | None:
        """Return the inputs with which a request led to an entry; None if that has not been noted."""
        return next((row["inputs"] for row in self._alternatives(request) if row["key"] == key), None)

    def remember(self, request: str, found: Inputs, key: str) -> None:
        """Note which inputs a request led to, and to which entry."""
        rows = [row for row in self._alternatives(request) if row["key"] != key]
        text = json.dumps({"schema": SCHEMA, "rows": [{"key": key, "inputs": found}, *rows][:MOST_ALTERNATIVES]}, sort_keys=True)
        path = self._request_file(request)
        with self._written(path.parent):
            draft = self._draft(path.parent)
            draft.write_text(text, "utf-8")
            draft.replace(path)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Return a context with a private folder in which an entry is made; it is removed at the end.

        Raises:
            PublishError: the cache cannot be written, or its disk is full.
        """
        with self._written(self.root):
            folder = self._draft(self.root / "drafts")
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def store(self, draft: Path, key: str, name: str, result: Mapping[str, Any]) -> CacheEntry:
        """Make an entry of a folder with `files/`, which is moved. An entry that another process has stored meanwhile stays."""
        with self._written(self.root):
            (draft / "result.json").write_text(json.dumps(result, sort_keys=True), "utf-8")
            rows = {path: [entry.size, entry.sha256] for path, entry in _entries_of(draft).items()}
            content = {"schema": SCHEMA, "key": key, "name": name, "files": rows}
            (draft / "checksums.json").write_text(json.dumps(content, sort_keys=True), "utf-8")
            return self._move_in(draft, key, name)

    def _move_in(self, draft: Path, key: str, name: str) -> CacheEntry:
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.replace(folder)
        except OSError:
            if not folder.is_dir():
                raise
        return CacheEntry(key, folder, name)

    def adopt(self, folder: Path, key: str, name: str) -> CacheEntry:
        """Copy an entry that was made elsewhere into the cache.

        Raises:
            CorruptEntryError: it is not as it was written.
        """
        CacheEntry(key, folder, name).check()
        if (known := self.entry(key, name)) is not None:
            return known
        with self.draft() as draft:
            copy = draft / "copy"
            shutil.copytree(folder, copy)
            return self._move_in(copy, key, name)

    def discard(self, entry: CacheEntry) -> None:
        """Remove an entry, such as a damaged one."""
        aside = self._draft(self.root / "drafts")
        with suppress(FileNotFoundError):
            entry.folder.replace(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def folder(self, key: str) -> Path:
        """Return the folder of the entry with a key, whether there is one or not."""
        return self.root / "entries" / key[:2] / key

    def _request_file(self, request: str) -> Path:
        return self.root / "requests" / request[:2] / f"{request}.json"

    def _draft(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f".{os.getpid()}-{secrets.token_hex(8)}"

    @contextmanager
    def _written(self, folder: Path) -> Iterator[None]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield
        except Exception as exc:
            if is_disk_full(exc):
                raise PublishError(
                    f"There is no space left for the cache {self.root}; models that were built before are kept in it.",
                    fix="free space on that disk, or choose another folder with --cache DIR, and repeat the command",
                    code="TFB5203",
                ) from exc
            if isinstance(exc, OSError) and str(exc.filename or "").startswith(str(self.root)):
                raise PublishError(
                    f"The cache {self.root} cannot be written: {exc.strerror or exc}.",
                    fix="choose a folder that you may write to, with --cache DIR",
                    code="TFB5204",
                ) from exc
            raise


def corrupted(entry: CacheEntry, exc: CorruptEntryError) -> VerifyError:
    """Return the error for an entry that was damaged between its making and its use."""
    return VerifyError(
        f"The cache entry of {entry.name} is damaged: {exc}.",
        where=str(entry.folder),
        fix="repeat the command, which builds this model again; check the disk if it happens again",
        code="TFB5202",
    )


def digest(value: Any) -> str:
    """Return the sha256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()
