"""From a local bundle into a store: what is new, and bundle.json last.

A reader of the store takes bundle.json first and then the files that it names. At every moment these are in the store:

1. Files of new versions are uploaded to their own paths. No published bundle.json names these, and a published version is never
   overwritten; `saved_model.pb` comes after the rest of its version, as servers look for it.
2. Generated files that replace older ones are uploaded under `.tfbundle/new/`, by their sha256.
3. bundle.json is replaced, on the condition that it is the one that the command began with; then the signature, if there is one.
4. The generated files are written to their own paths, and what bundle.json no longer names is removed.

A command that stops before step 3 leaves the old bundle.json, all of whose files are untouched. One that stops after it leaves
the new one; readers find the generated files under `.tfbundle/new/`, and the next command takes step 4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.delivery.stores import attestations
from bundler.delivery.stores.download import has
from bundler.delivery.stores.lease import Lease
from bundler.delivery.stores.private import (
    EMPTY_FOLDERS,
    FOLDER,
    STAGED,
    empty_folders,
    folders_from_bytes,
    folders_to_bytes,
)
from bundler.delivery.stores.store import Advance, Snapshot, Store, Stored
from bundler.delivery.stores.transfer import run_all
from bundler.delivery.transfers import Progress
from bundler.errors import DeliveryError, UsageError, VerifyError


@dataclass(frozen=True)
class Uploaded:
    """What a publication did.

    Attributes:
        files: number of uploaded files, bundle.json not counted.
        bytes: their bytes.
        removed: number of objects that were removed.
        changed: whether the store has another bundle.json than before.
    """

    files: int
    bytes: int
    removed: int
    changed: bool


@dataclass(frozen=True)
class _Upload:
    """A file to upload: `path` in the bundle, `target` in the store."""

    path: str
    target: str
    entry: FileEntry


def publish(
    store: Store,
    root: Path,
    progress: Progress,
    *,
    base: Snapshot | None = None,
    is_based: bool = False,
    drop_versions: bool = False,
) -> Uploaded:
    """Make the bundle in a local folder the one in the store.

    Files that the store has already need not be in the folder.

    Args:
        store: the folder in a store.
        root: the local bundle.
        progress: called as bytes are uploaded.
        base: the store's bundle.json that the local bundle was made from; None if the store had none.
        is_based: whether the local bundle was made from `base`, which then must still be the store's.
        drop_versions: whether versions that only the store has may be removed.

    Raises:
        UsageError: the store is read-only, or its folder has files and is not a bundle.
        DeliveryError: the store cannot be written, another command writes or has written to it, or it has other versions.
        VerifyError: a file that is to be uploaded is missing or changed, or one of the manifests is damaged.
    """
    store.check_writable()
    layout = BundleLayout(root)
    manifest = Manifest.read(layout.manifest)
    with Lease(store) as lease:
        before = store.snapshot()
        if is_based and (before and before.token) != (base and base.token):
            raise changed_meanwhile(store)
        return _Publication(store, layout, manifest, before, lease, progress).run(drop_versions=drop_versions)


class _Publication:
    """One run of `publish`, with the lease held."""

    def __init__(
        self, store: Store, layout: BundleLayout, manifest: Manifest, before: Snapshot | None, lease: Lease, progress: Progress
    ) -> None:
        self._store, self._layout, self._manifest, self._before = store, layout, manifest, before
        self._lease, self._progress = lease, progress
        self._old: Mapping[str, FileEntry] = before.manifest.files if before else {}
        self._listing: Mapping[str, Stored] = store.listing() or {}

    def run(self, *, drop_versions: bool) -> Uploaded:
        self._check_folder()
        self._check_versions(drop_versions=drop_versions)
        self._keep_empty_folders()
        self._store.remove(self._remains())
        uploads = [upload for path, entry in self._manifest.files.items() if (upload := self._plan(path, entry))]
        self._check_local(uploads)
        total = sum(upload.entry.size for upload in uploads)
        last = [upload for upload in uploads if upload.path.endswith("/saved_model.pb")]
        first = [upload for upload in uploads if upload not in last]
        for each in (first, last):
            size = sum(upload.entry.size for upload in each)
            run_all(each, self._upload, total=size, verb="push", outcome="pushed", progress=self._progress)
        self._lease.check()
        data = self._manifest.to_bytes()
        is_new = self._before is None or self._before.data != data
        if is_new and not self._store.replace_manifest(data, self._before.token if self._before else None):
            raise changed_meanwhile(self._store)
        signed = attestations.upload(self._store, self._layout, self._manifest)
        return Uploaded(len(uploads) + signed, total, self._settle(uploads), is_new)

    def _check_folder(self) -> None:
        others = sorted(path for path in self._listing if not path.startswith(f"{FOLDER}/"))
        if self._before is None and others and EMPTY_FOLDERS not in self._listing:
            raise UsageError(
                f"{self._store.address} has other files, such as {others[0]!r}, and is not a bundle.",
                fix="choose an empty folder in the bucket",
                code="TFB9111",
            )

    def _check_versions(self, *, drop_versions: bool) -> None:
        old = self._before.manifest if self._before else Manifest({})
        for model in old.models:
            for number in old.versions(model):
                if number not in self._manifest.versions(model):
                    if not drop_versions and not is_lost(self._listing, model, number):
                        raise _only_in_store(self._store, model, number)
                elif _parts(self._manifest, model, number) != _parts(old, model, number):
                    raise DeliveryError(
                        f"{self._store.address} has another version {number} of model {model!r}; a published version is never "
                        "overwritten.",
                        fix="build it as a new version, or push to another address",
                        code="TFB9112",
                    )

    def _keep_empty_folders(self) -> None:
        kept = folders_from_bytes(self._store.read(EMPTY_FOLDERS) or b"") if EMPTY_FOLDERS in self._listing else []
        data = folders_to_bytes([*kept, *empty_folders(self._layout)])
        if EMPTY_FOLDERS not in self._listing or data != folders_to_bytes(kept):
            self._store.write(EMPTY_FOLDERS, data)

    def _remains(self) -> list[str]:
        """Return what a failed publication left in the folders of versions that this one publishes first."""
        old = self._before.manifest if self._before else Manifest({})
        owners = {path: owner for path in self._listing if (owner := version_of(path)) and path not in self._manifest.files}
        return [
            path
            for path, (model, number) in owners.items()
            if number in self._manifest.versions(model) and number not in old.versions(model)
        ]

    def _plan(self, path: str, entry: FileEntry) -> _Upload | None:
        """Return the upload of a file; None if the store has it."""
        staged = f"{STAGED}{entry.sha256}"
        is_staged = self._has(staged, entry)
        if self._old.get(path) == entry and self._has(path, entry) and (version_of(path) or not is_staged):
            return None
        if version_of(path) or path not in self._old:
            is_there = self._has(path, entry) and self._store.sha256(path) == entry.sha256
            return None if is_there else _Upload(path, path, entry)
        return None if is_staged else _Upload(path, staged, entry)

    def _has(self, target: str, entry: FileEntry) -> bool:
        found = self._listing.get(target)
        return found is not None and found.size == entry.size

    def _check_local(self, uploads: list[_Upload]) -> None:
        total = sum(upload.entry.size for upload in uploads)

        def check(upload: _Upload, advance: Advance) -> None:
            if not has(self._layout.root / upload.path, upload.entry):
                raise VerifyError(
                    f"{upload.path} is missing or not as it was built; nothing was published.",
                    where=str(self._layout.root),
                    fix="for a generated file that you edited, run `tfbundle render DIR`, which keeps your version as .orig; "
                    "restore any other file, or build again",
                    code="TFB9113",
                )
            advance(upload.entry.size)

        run_all(uploads, check, total=total, verb="check", outcome="skipped", progress=self._progress)

    def _upload(self, upload: _Upload, advance: Advance) -> None:
        self._lease.check()
        self._store.upload(self._layout.root / upload.path, upload.target, upload.entry, advance)

    def _settle(self, uploads: list[_Upload]) -> int:
        """Write the staged generated files to their own paths, and remove what bundle.json no longer names."""
        staged = {path for path in self._listing if path.startswith(STAGED)} | {u.target for u in uploads if u.target != u.path}
        for path, entry in self._manifest.files.items():
            if not version_of(path) and f"{STAGED}{entry.sha256}" in staged:
                self._lease.check()
                self._store.upload(self._layout.root / path, path, entry, _ignore)
        gone = [path for path in self._old if path not in self._manifest.files and path in self._listing]
        self._store.remove([*gone, *sorted(staged)])
        return len(gone)


def _parts(manifest: Manifest, model: str, number: int) -> dict[str, FileEntry]:
    return {path: entry for path, entry in manifest.files.items() if version_of(path) == (model, number)}


def is_lost(listing: Collection[str], model: str, number: int) -> bool:
    """Return whether a version that bundle.json names has no file left in the store: somebody has removed it."""
    return not any(path.startswith(f"models/{model}/{number}/") for path in listing)


def _ignore(count: int) -> None:
    pass


def changed_meanwhile(store: Store) -> DeliveryError:
    """Return the error for a store to which another command has published since this one began."""
    return DeliveryError(
        f"Another command has published to {store.address} since this one began; nothing was published.",
        fix="repeat the command, which then begins with what is there now",
        code="TFB9114",
    )


def _only_in_store(store: Store, model: str, number: int) -> DeliveryError:
    return DeliveryError(
        f"{store.address} has version {number} of model {model!r}, which the bundle lacks.",
        fix="pull it first, or add --drop-versions to remove it from the store",
        code="TFB9115",
    )
