"""A store's bundle in a local folder: one to read from, and one to build in.

Both are in the cache, in a folder for the address. They have bundle.json, and files only as far as they were needed; a version
whose files were not needed has an empty folder. So a build into a store moves neither the weights of earlier versions nor their
ONNX and TFLite files: it reads bundle.json, the golden data (for the smoke test) and the generated files (to replace them).

A file in a mirror counts only if it is the one that bundle.json names, by size and sha256, so a mirror cannot be out of date or
damaged without notice. Readers and builders have mirrors of their own: a server never sees a version that is not published.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import unwritable
from bundler.delivery.stores.download import ChangedError, Download, Wanted, remove_others
from bundler.delivery.stores.publish import Uploaded, is_lost, publish
from bundler.delivery.stores.store import Snapshot, Store, open_store
from bundler.delivery.transfers import Progress, ignore
from bundler.errors import DeliveryError, ModelsError, TfbundleError, UsageError, VariantsError
from bundler.process.cache import cache_dir
from bundler.values.addresses import StoreAddress
from serving.texts import shell_command

ATTEMPTS = 3
"""How often a download begins again because another command has published in the meantime."""

READER_PATIENCE_S = 600.0


Shown = Callable[[], AbstractContextManager[Progress]]
"""Returns a context in which progress is shown."""


def quietly() -> AbstractContextManager[Progress]:
    """Return a context in which no progress is shown."""
    return nullcontext(ignore)


def for_build(path: str) -> bool:
    """Return whether a build, a promotion or `tfbundle render` reads a file: golden data and generated files."""
    return version_of(path) is None or path.startswith("golden/")


@dataclass(frozen=True)
class Mirror:
    """A store's bundle in a local folder.

    Attributes:
        store: the bundle in its store.
        root: the folder; its name is the last part of the address, as the bundle's name is part of generated files.
        base: the store's bundle.json when the mirror was made; None if it had none.
    """

    store: Store
    root: Path
    base: Snapshot | None

    def publish(self, progress: Progress) -> Uploaded | None:
        """Upload what a command has changed in the folder; return None if that is nothing.

        Raises:
            TfbundleError: as `publish` does; the message says how to upload the folder later.
        """
        layout = BundleLayout(self.root)
        if not layout.manifest.exists() or (self.base and layout.manifest.read_bytes() == self.base.data):
            return None
        try:
            return publish(self.store, self.root, progress, base=self.base, is_based=True)
        except DeliveryError as exc:
            if exc.code != "TFB9114":
                again = shell_command("tfbundle", "push", self.root, self.store.address)
                exc.fix = f"{exc.fix}; until the next build into this address, `{again}` uploads what was built"
            raise


def reading(address: StoreAddress, wanted: Callable[[Manifest], Wanted], progress: Progress = ignore) -> Mirror:
    """Return a mirror that has the wanted files of a store's bundle.

    Args:
        address: the bundle's address.
        wanted: returns, for the bundle's manifest, which files are needed.
        progress: called as bytes are downloaded.

    Raises:
        VerifyError: there is no bundle, or a damaged one.
        DeliveryError: the store cannot be read.
        PublishError: the cache cannot be written.
    """
    store = open_store(address)
    folder = _area(address)
    with _local_errors(folder), _locked(folder / "read.lock", address, READER_PATIENCE_S):
        return _synced(store, folder, "read", wanted, progress)


def nothing(manifest: Manifest) -> Wanted:
    """Return that no file is needed besides those that every command reads."""
    return lambda path: False


@contextmanager
def writing(
    address: StoreAddress,
    shown: Shown = quietly,
    *,
    may_be_new: bool = False,
    adopts: bool = False,
    also: Callable[[Manifest], Wanted] = nothing,
) -> Iterator[Mirror]:
    """Return a context with a folder to change a store's bundle in. At its end, what has changed is uploaded.

    Args:
        address: the bundle's address.
        shown: shows the progress of the download, and later that of the upload.
        may_be_new: whether the store need not have a bundle there yet.
        adopts: whether the command is to take in a model repository, which has to be on this machine.
        also: returns, for the bundle's manifest, which further files the command reads.

    Raises:
        UsageError: nothing can be written to stores of this kind, or `adopts` is set.
        VerifyError: there is no bundle, or a damaged one.
        DeliveryError: the store cannot be read or written, or another command writes to it.
        PublishError: the cache cannot be written.
    """
    if adopts:
        raise UsageError(
            f"--adopt reads a model repository on this machine, and {address} is in a store.",
            fix="copy the repository to a folder, build there with -o DIR --adopt, then `tfbundle push DIR ADDRESS`",
            code="TFB9117",
        )
    store = open_store(address)
    store.check_writable()
    folder = _area(address)
    with _local_errors(folder), _locked(folder / "write.lock", address, 0.0):
        with shown() as progress:
            mirror = _synced(store, folder, "write", _either(also), progress, may_be_new=may_be_new)
        try:
            yield mirror
        except (VariantsError, ModelsError) as exc:
            if isinstance(exc, VariantsError) or exc.bundle is not None:  # raised after the bundle was published without them
                with shown() as progress:
                    mirror.publish(progress)
            raise
        with shown() as progress:
            mirror.publish(progress)


def _either(also: Callable[[Manifest], Wanted]) -> Callable[[Manifest], Wanted]:
    """Return, for a manifest, which files a command reads that changes a bundle, and also reads others."""

    def wanted(manifest: Manifest) -> Wanted:
        further = also(manifest)
        return lambda path: for_build(path) or further(path)

    return wanted


def _area(address: StoreAddress) -> Path:
    """Return the cache folder of an address."""
    digest = hashlib.sha256(str(address).encode("utf-8")).hexdigest()[:16]
    return cache_dir() / "stores" / f"{address.scheme}-{_name(address)}-{digest}"


def _name(address: StoreAddress) -> str:
    """Return the last part of an address as a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", address.path.rsplit("/", 1)[-1]).lstrip(".") or "bundle"


@contextmanager
def _locked(path: Path, address: StoreAddress, patience: float) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=patience)
    try:
        lock.acquire()
    except Timeout as exc:
        raise DeliveryError(
            f"Another command on this machine works with {address}.",
            where=str(path),
            fix="wait until it ends, and repeat the command",
            code="TFB9109",
        ) from exc
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _local_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except TfbundleError:
        raise
    except OSError as exc:
        if exc.filename is None or not str(exc.filename).startswith(str(folder)):
            raise
        raise unwritable(exc, folder) from exc


def _synced(
    store: Store,
    folder: Path,
    kind: Literal["read", "write"],
    wanted: Callable[[Manifest], Wanted],
    progress: Progress,
    *,
    may_be_new: bool = False,
) -> Mirror:
    """Bring a mirror to what the store has; begin again if another command publishes in the meantime."""
    root = folder / kind / _name(store.address)
    other = folder / ("write" if kind == "read" else "read") / root.name
    for _ in range(ATTEMPTS):
        found = store.snapshot() if may_be_new else store.open()
        if found is None:
            shutil.rmtree(root, ignore_errors=True)
            return Mirror(store, root, None)
        manifest = _without_lost_versions(store, found.manifest)
        remove_others(root, manifest)
        root.mkdir(parents=True, exist_ok=True)
        with suppress(ChangedError):
            Download(store, found.manifest, root, donors=[other]).run(_and_kept(wanted(found.manifest), manifest), progress)
            for model in manifest.models:
                for number in manifest.versions(model):
                    BundleLayout(root).version_dir(model, number).mkdir(parents=True, exist_ok=True)
            _write(root, found.data)
            return Mirror(store, root, found)
    raise DeliveryError(
        f"{store.address} changed during each of {ATTEMPTS} downloads.", fix="repeat the command", code="TFB9114"
    )


def _without_lost_versions(store: Store, manifest: Manifest) -> Manifest:
    """Return the manifest without versions that somebody has removed from the store: a build drops them, as in a local folder."""
    listing = store.listing()
    if listing is None:
        return manifest
    for model in manifest.models:
        for number in manifest.versions(model):
            if is_lost(listing, model, number):
                manifest = manifest.without_version(model, number)
    return manifest


def _and_kept(wanted: Wanted, manifest: Manifest) -> Wanted:
    """Return whether a file is wanted, and not one of a version that is lost."""

    def check(path: str) -> bool:
        owner = version_of(path)
        return wanted(path) and (owner is None or owner[1] in manifest.versions(owner[0]))

    return check


def _write(root: Path, data: bytes) -> None:
    draft = root / ".bundle.json.new"
    draft.write_bytes(data)
    draft.replace(root / "bundle.json")
