"""Bundles in stores of files: push and pull, the check without a download, and the local folder for a command."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import Manifest
from bundler.bundle.recovery import wait_until_published
from bundler.bundle.staging import Staging, is_disk_full, unwritable
from bundler.delivery.stores import attestations
from bundler.delivery.stores.check import check
from bundler.delivery.stores.download import ChangedError, Download, Wanted, everything, remove_others
from bundler.delivery.stores.mirror import ATTEMPTS, Shown, for_build, nothing, quietly, reading, writing
from bundler.delivery.stores.publish import Uploaded, publish
from bundler.delivery.stores.store import Snapshot, Store, open_store
from bundler.delivery.transfers import Progress, ignore
from bundler.errors import DeliveryError, TfbundleError, UsageError
from bundler.process.cache import cache_dir
from bundler.validation.bundle import Problem
from bundler.values.addresses import StoreAddress


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        root: the bundle's folder.
        files: number of files that were downloaded.
        bytes: their bytes.
        changed: whether the folder had another bundle, or none.
        notices: what the user should know, such as files that had been edited.
    """

    root: Path
    files: int
    bytes: int
    changed: bool
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """The result of `verify_store`.

    Attributes:
        problems: differences between the store and its bundle.json.
        files: number of files that bundle.json names.
        by_checksum: number of those that were compared by a checksum of the store.
        by_download: number of those that had to be downloaded.
    """

    problems: list[Problem]
    files: int
    by_checksum: int
    by_download: int


def push_store(root: Path, address: StoreAddress, progress: Progress = ignore, *, drop_versions: bool = False) -> Uploaded:
    """Make a local bundle the one in a store. What the store has already is not sent again.

    Args:
        root: the local bundle.
        address: the folder in the store.
        progress: called as bytes are uploaded.
        drop_versions: whether to remove versions that only the store has.

    Raises:
        VerifyError: `root` is not a bundle, or a file that is to be uploaded is missing or changed.
        UsageError: nothing can be written there, or the store's folder has files and is not a bundle.
        DeliveryError: the store cannot be written, another command writes to it, or it has other versions.
    """
    wait_until_published(root)
    Manifest.read(BundleLayout(root).manifest)
    return publish(open_store(address), root, progress, drop_versions=drop_versions)


def pull_store(address: StoreAddress, root: Path, progress: Progress = ignore) -> Pulled:
    """Copy a store's bundle into a folder, or bring a folder that has an earlier state of it to the store's.

    The files are collected in a hidden folder beside it and checked before anything gets its name. If the connection fails,
    that folder stays, and a repeated command goes on with it.

    Args:
        address: the bundle in a store.
        root: a new or empty folder, or one with an earlier state of this bundle.
        progress: called as bytes are downloaded.

    Raises:
        UsageError: the folder has other files, or versions that the store lacks or that are different there.
        VerifyError: there is no bundle at the address, or it is damaged.
        DeliveryError: the store cannot be read.
        PublishError: the folder cannot be written.
    """
    store, target = open_store(address), root.resolve()
    work = target.with_name(f".{target.name}.pulling")
    with _one_at_a_time(target):
        try:
            return _pull(store, target, root, work, progress)
        except TfbundleError:
            raise
        except OSError as exc:
            if is_disk_full(exc):
                shutil.rmtree(work, ignore_errors=True)
            raise unwritable(exc, root) from exc


def verify_store(address: StoreAddress, progress: Progress = ignore) -> Verified:
    """Compare a store with its bundle.json by the checksums that it keeps; files without one are downloaded and hashed.

    Models are not run, and their operators are not looked at: that takes the files.

    Args:
        address: the bundle in a store.
        progress: called as files are compared.

    Raises:
        VerifyError: there is no bundle at the address, or its bundle.json is damaged.
        DeliveryError: the store cannot be read.
    """
    found = check(open_store(address), progress)
    problems = [Problem(each.path, each.message, each.serious) for each in found.findings]
    return Verified(problems, len(found.manifest.files), found.by_checksum, found.by_download)


def whole(manifest: Manifest) -> Wanted:
    """Every file of the bundle."""
    return everything


def without_weights(manifest: Manifest) -> Wanted:
    """The golden data and the generated files: what a smoke test or the list of labels needs."""
    return for_build


def served(manifest: Manifest) -> Wanted:
    """The SavedModels and golden data of the versions that the bundle's settings serve, and the generated files."""
    from bundler.render.parts import render_context
    from bundler.render.tf_serving import served_versions

    versions = served_versions(render_context("bundle", manifest))

    def wanted(path: str) -> bool:
        owner = version_of(path)
        return owner is None or (path.startswith(("models/", "golden/")) and owner[1] in versions.get(owner[0], ()))

    return wanted


def mobile(manifest: Manifest) -> Wanted:
    """All but the SavedModels and ONNX files."""
    return lambda path: not path.startswith(("models/", "onnx/"))


NEEDED: Mapping[str, Callable[[Manifest], Wanted]] = {
    "whole": whole, "without_weights": without_weights, "served": served, "mobile": mobile,
}  # fmt: skip
"""Which files a command reads, for the manifest of a bundle."""


def local_copy(address: StoreAddress, needed: Callable[[Manifest], Wanted], progress: Progress = ignore) -> Path:
    """Return a local folder that has the needed files of a store's bundle, unchanged ones from an earlier call.

    Args:
        address: the bundle in a store.
        needed: one of `NEEDED`.
        progress: called as bytes are downloaded.

    Raises:
        VerifyError: there is no bundle at the address, or it is damaged.
        DeliveryError: the store cannot be read.
        PublishError: the cache cannot be written.
    """
    mirror = reading(address, needed, progress)
    if needed is NEEDED["whole"] and mirror.base is not None:
        attestations.download(mirror.store, mirror.base.manifest, mirror.root)
    return mirror.root


@contextmanager
def changed_copy(
    address: StoreAddress,
    shown: Shown = quietly,
    *,
    may_be_new: bool = False,
    adopts: bool = False,
    also: Callable[[Manifest], Wanted] | None = None,
) -> Iterator[Path]:
    """Return a context with a local folder to change a store's bundle in; at its end, what has changed is uploaded.

    Args:
        address: the bundle in a store.
        shown: returns a context in which progress is shown.
        may_be_new: whether the store need not have a bundle there yet.
        adopts: whether the command is to take in a model repository, which has to be on this machine.
        also: returns, for the bundle's manifest, which further files the command reads.

    Raises:
        TfbundleError: as `bundler.delivery.stores.mirror.writing` does.
    """
    with writing(address, shown, may_be_new=may_be_new, adopts=adopts, also=also or nothing) as mirror:
        yield mirror.root


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[None]:
    name = hashlib.sha256(str(target).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path = cache_dir() / "stores" / f"pull-{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path, timeout=0):
            yield
    except Timeout as exc:
        raise DeliveryError(
            f"Another command is pulling into {target}.", fix="wait until it ends, or give another folder with -o", code="TFB9109"
        ) from exc


def _pull(store: Store, target: Path, shown: Path, work: Path, progress: Progress) -> Pulled:
    here = _existing(target, shown)
    for _ in range(ATTEMPTS):
        found = store.open()
        if here is not None:
            if here.to_bytes() == found.data:
                attestations.download(store, found.manifest, target)  # it may have been signed since
                return Pulled(target, 0, 0, changed=False)
            _check_fast_forward(store, here, found.manifest, shown)
        if work.is_symlink():
            work.unlink()
        work.mkdir(parents=True, exist_ok=True)
        remove_others(work, found.manifest)
        download = Download(store, found.manifest, work, donors=[target] if here else [])
        try:
            download.run(_new(found.manifest, here), progress)
        except ChangedError:
            continue
        if here is None:
            attestations.download(store, found.manifest, work)
        notices = _install(found, work, target, shown, is_update=here is not None)
        if here is not None:
            attestations.download(store, found.manifest, target)
        return Pulled(target, download.moved, download.bytes, changed=True, notices=notices)
    raise DeliveryError(f"{store.address} changed during each of {ATTEMPTS} downloads.", fix="repeat the command", code="TFB9114")


def _existing(target: Path, shown: Path) -> Manifest | None:
    """Return the manifest of the bundle in a folder; None if the folder does not exist or is empty."""
    layout = BundleLayout(target)
    if layout.manifest.exists():
        wait_until_published(target)
        return Manifest.read(layout.manifest)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{shown} exists and is not a bundle.",
            fix="give a new or an empty folder with -o, or an earlier copy",
            code="TFB9116",
        )
    return None


def _check_fast_forward(store: Store, here: Manifest, there: Manifest, shown: Path) -> None:
    """Raise UsageError if the folder has a version that the store lacks, or has with other files."""
    for model in here.models:
        for number in here.versions(model):
            mine, theirs = (
                {path: entry for path, entry in manifest.files.items() if version_of(path) == (model, number)}
                for manifest in (here, there)
            )
            if mine != theirs:
                what = "has other files there" if theirs else f"is not in {store.address}"
                raise UsageError(
                    f"Version {number} of model {model!r} in {shown} {what}; nothing was changed.",
                    fix="pull into another folder with -o, or push that version first",
                    code="TFB9116",
                )


def _new(manifest: Manifest, here: Manifest | None) -> Wanted:
    """Return which files to collect: all generated ones, and those of versions that the folder lacks."""
    known = here.models if here else {}

    def wanted(path: str) -> bool:
        owner = version_of(path)
        return owner is None or owner[1] not in known.get(owner[0], {})

    return wanted


def _install(found: Snapshot, work: Path, target: Path, shown: Path, *, is_update: bool) -> tuple[str, ...]:
    """Give the collected files their names: by one rename, or by a publication in the bundle that is there."""
    if not is_update:
        (work / "bundle.json").write_bytes(found.data)
        if target.is_dir():
            target.rmdir()
        work.rename(target)
        return ()
    with Staging(target) as staging:
        for part in work.iterdir():
            part.rename(staging.layout.root / part.name)
        published = staging.publish(found.manifest)
    shutil.rmtree(work)
    return published.notices
