"""From a store into a local folder: only what is missing there, checked before it gets its name.

A file is written to `.incoming/` in the folder, compared with its size and sha256 in bundle.json, and renamed. So what has a name
is complete, and a repeated command goes on where an earlier one stopped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from bundler.bundle.files import link_on, link_or_copy
from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import FileEntry, Manifest, files_under
from bundler.bundle.staging import staging_folders
from bundler.delivery.stores.private import EMPTY_FOLDERS, STAGED, folders_from_bytes
from bundler.delivery.stores.store import Advance, Store
from bundler.delivery.stores.transfer import run_all
from bundler.delivery.transfers import Progress
from bundler.errors import PublishError, VerifyError

INCOMING = ".incoming"

Wanted = Callable[[str], bool]
"""Whether a path of bundle.json is needed."""


def everything(path: str) -> bool:
    """Return True: every file is needed."""
    return True


class ChangedError(Exception):
    """The store's bundle.json no longer names what was read: another command has published in the meantime."""


class Download:
    """Files of one bundle.json, on their way from a store into a folder.

    Attributes:
        moved: number of files that were downloaded.
        bytes: number of bytes that were downloaded.
    """

    def __init__(self, store: Store, manifest: Manifest, folder: Path, *, donors: Sequence[Path] = ()) -> None:
        """Prepare a download.

        Args:
            store: the bundle in its store.
            manifest: the content of its bundle.json.
            folder: the local folder.
            donors: folders that may have some of the files already, such as an earlier copy of the bundle.
        """
        self._store, self._manifest, self._folder, self._donors = store, manifest, folder, donors
        self.moved = 0
        self.bytes = 0

    def run(self, wanted: Wanted, progress: Progress) -> None:
        """Fetch the wanted files that the folder lacks, and create the empty folders of their versions.

        Raises:
            ChangedError: another command has published in the meantime.
            VerifyError: an object is missing, or its content is not the one that bundle.json names.
            DeliveryError: the store cannot be read.
            PublishError: there is not enough space.
            OSError: the folder cannot be written.
        """
        entries = {path: entry for path, entry in self._manifest.files.items() if wanted(path)}
        for path in entries:
            if (link := link_on(self._folder, path)) is not None:
                (self._folder / link).unlink()
        missing = [path for path, entry in sorted(entries.items()) if not self._is_here(path, entry)]
        total = sum(entries[path].size for path in missing)
        self._check_space(total)
        incoming = self._folder / INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        try:
            run_all(missing, self._fetch, total=total, verb="pull", outcome="pulled", progress=progress)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        self._make_empty_folders(wanted)
        self.moved, self.bytes = len(missing), total

    def _is_here(self, path: str, entry: FileEntry) -> bool:
        """Return whether the folder has a file, or gets it from a donor."""
        target = self._folder / path
        if has(target, entry):
            return True
        for donor in self._donors:
            if link_on(donor, path) is None and has(donor / path, entry):
                target.unlink(missing_ok=True)
                link_or_copy(donor / path, target)
                return True
        return False

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise PublishError(
                f"{self._store.address} needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free.",
                where=str(self._folder),
                fix="free space on that disk, or choose a folder on another one",
                code="TFB5002",
            )

    def _fetch(self, path: str, advance: Advance) -> None:
        entry = self._manifest.files[path]
        part = self._folder / INCOMING / hashlib.sha256(path.encode()).hexdigest()
        sources = [path] if version_of(path) else [path, f"{STAGED}{entry.sha256}"]
        for source in sources:
            try:
                self._store.download(source, part, advance)
            except FileNotFoundError:
                continue
            if has(part, entry):
                target = self._folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                part.replace(target)
                return
        raise self._damaged(path)

    def _damaged(self, path: str) -> Exception:
        now = self._store.snapshot()
        if now is None or now.manifest.files != self._manifest.files:
            return ChangedError()
        return VerifyError(
            f"{path} is missing in {self._store.address}, or is not the file that bundle.json names.",
            where=str(self._store.address),
            fix="remove that object, and push the bundle again from a folder that is intact; nothing was changed here",
            code="TFB9110",
        )

    def _make_empty_folders(self, wanted: Wanted) -> None:
        for text in folders_from_bytes(self._store.read(EMPTY_FOLDERS) or b""):
            owner = version_of(text)
            if owner and owner[1] in self._manifest.versions(owner[0]) and wanted(text) and link_on(self._folder, text) is None:
                (self._folder / text).mkdir(parents=True, exist_ok=True)


def remove_others(root: Path, manifest: Manifest) -> None:
    """Remove from a local copy what a bundle does not name: versions that were dropped, and what an interrupted command left."""
    layout = BundleLayout(root)
    kept = {*manifest.files, layout.manifest.name, layout.lock.name}
    for stale in staging_folders(root) if root.is_dir() else ():
        shutil.rmtree(stale)
    for file in files_under(root):
        path = layout.relative(file)
        if path not in kept and link_on(root, str(Path(path).parent)) is None:
            file.unlink()
    for folder in layout.version_folders:
        for version in folder.glob("*/*") if folder.is_dir() else ():
            owner = version_of(layout.relative(version))
            if version.is_dir() and not (owner and owner[1] in manifest.versions(owner[0])):
                shutil.rmtree(version)
    for parent, _, _ in os.walk(root, topdown=False):
        if Path(parent) != root and not any(Path(parent).iterdir()):
            Path(parent).rmdir()  # the empty folders of versions are made again


def has(path: Path, entry: FileEntry) -> bool:
    """Return whether a path is a file with this content, and not a link to one."""
    try:
        return path.lstat().st_size == entry.size and FileEntry.of(path, follow=False) == entry
    except OSError:
        return False
