"""Compare a store with its bundle.json, by the checksums that the store keeps; what has none is downloaded and hashed."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.delivery.stores.private import FOLDER, STAGED
from bundler.delivery.stores.store import MANIFEST, Advance, Store, Stored
from bundler.delivery.stores.transfer import run_all
from bundler.delivery.transfers import Progress


@dataclass(frozen=True)
class Finding:
    """A difference between a store and its bundle.json.

    Attributes:
        path: the object, relative to the bundle.
        message: what is different.
        serious: False for harmless differences.
    """

    path: str
    message: str
    serious: bool = True


@dataclass
class Checked:
    """The result of `check`.

    Attributes:
        manifest: the content of bundle.json.
        findings: the differences.
        by_checksum: number of files that were compared by a checksum of the store.
        by_download: number of files that had to be downloaded.
    """

    manifest: Manifest
    findings: list[Finding] = field(default_factory=list)
    by_checksum: int = 0
    by_download: int = 0


def check(store: Store, progress: Progress) -> Checked:
    """Compare every object with bundle.json.

    Raises:
        VerifyError: there is no bundle, or bundle.json is damaged.
        DeliveryError: the store cannot be read.
        OSError: the folder for temporary files cannot be written.
    """
    manifest = store.open().manifest
    listing = store.listing()
    result = Checked(manifest)
    present = [path for path in sorted(manifest.files) if listing is None or path in listing]
    lock = threading.Lock()

    with tempfile.TemporaryDirectory(prefix="tfbundle-check-") as folder:

        def compare(path: str, advance: Advance) -> None:
            entry = manifest.files[path]
            found, how = _found(store, path, entry, listing, Path(folder), advance)
            finding = _difference(path, entry, found, listing or {})
            with lock:
                result.findings += [finding] if finding else []
                result.by_checksum += how == "checksum"
                result.by_download += how == "download"

        total = sum(manifest.files[path].size for path in present)
        run_all(present, compare, total=total, verb="check", outcome="skipped", progress=progress)
    result.findings += _missing(manifest, listing)
    result.findings += _unknown(manifest, listing or {})
    result.findings.sort(key=lambda finding: finding.path)
    return result


def _found(
    store: Store, path: str, entry: FileEntry, listing: Mapping[str, Stored] | None, folder: Path, advance: Advance
) -> tuple[FileEntry | None, Literal["size", "checksum", "download"]]:
    """Return the size and sha256 of an object, and how they were found; None if there is no such object."""
    if listing is not None and listing[path].size != entry.size:
        return FileEntry(listing[path].size, ""), "size"
    kept = store.sha256(path)
    if kept is not None:
        advance(entry.size)
        return FileEntry(entry.size, kept), "checksum"
    part = folder / str(threading.get_ident())
    try:
        store.download(path, part, advance)
    except FileNotFoundError:
        return None, "download"
    return FileEntry.of(part), "download"


def _difference(path: str, entry: FileEntry, found: FileEntry | None, listing: Mapping[str, Stored]) -> Finding | None:
    if found == entry:
        return None
    if not version_of(path) and f"{STAGED}{entry.sha256}" in listing:
        what = "an interrupted publication has not replaced it yet; readers get the new one, and the next push ends it"
        return Finding(path, what, serious=False)
    if found is None:
        return Finding(path, "missing")
    if found.size != entry.size:
        return Finding(path, f"changed: {found.size} bytes instead of {entry.size}")
    return Finding(path, f"changed: sha256 {found.sha256[:12]}… instead of {entry.sha256[:12]}…")


def _missing(manifest: Manifest, listing: Mapping[str, Stored] | None) -> Iterator[Finding]:
    if listing is not None:
        yield from (Finding(path, "missing") for path in manifest.files if path not in listing)
    for model, versions in manifest.models.items():
        for number, record in versions.items():
            golden = [] if record.get("adopted") else [f"golden/{model}/{number}.npz"]
            for path in (f"models/{model}/{number}/saved_model.pb", *golden):
                if path not in manifest.files:
                    yield Finding(path, "not listed in bundle.json, but every version must have it")


def _unknown(manifest: Manifest, listing: Mapping[str, Stored]) -> Iterator[Finding]:
    layout = BundleLayout(Path())
    unlisted = {MANIFEST, *map(layout.relative, (layout.signature, *layout.papers(manifest.models)))}
    for path in listing:
        if path not in manifest.files and path not in unlisted and not path.startswith(f"{FOLDER}/"):
            yield Finding(path, "not part of the bundle", serious=path.split("/")[0] in ("models", "tflite", "onnx", "golden"))
