"""Pulling a bundle: into a hidden folder beside the target, compared with its bundle.json, and then put into place by a rename.

What was transferred and compared stays in the hidden folder if a pull is interrupted, and the next pull of the same artifact goes
on there; so the folder's name has the artifact's digest.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bundler.bundle import journal
from bundler.bundle.manifest import MAX_BYTES, FileEntry, Manifest
from bundler.bundle.staging import is_disk_full
from bundler.delivery.oci import artifact
from bundler.delivery.oci.ahead import ahead
from bundler.delivery.oci.descriptors import INDEXES, Descriptor, descriptors, malformed
from bundler.delivery.oci.image import CONFIG as IMAGE_CONFIG
from bundler.delivery.oci.layers import LAYER
from bundler.delivery.oci.referrers import BUNDLE_TYPE, subject_of
from bundler.delivery.oci.registry import Document, Registry
from bundler.delivery.oci.unpack import Target, unsafe
from bundler.delivery.transfers import Outcome, Progress, Totals, Transfer, ignore
from bundler.errors import DeliveryError, PublishError, UsageError
from bundler.values.addresses import OciAddress
from serving.texts import shell_command

_DONE = "done.json"
_TREE = "tree"
_REFUSED = ("TFB9009", "TFB9010", "TFB9011")  # with what was fetched there is nothing to go on with
_OVERHEAD = 64 << 20  # bytes of headers and folders that a layer may have beside its files


Accept = Callable[[Path, str], None]


@dataclass(frozen=True)
class Pulled:
    """The result of a pull.

    Attributes:
        digest: digest of the artifact's manifest.
        totals: what was transferred, and what the folder had already.
        changed: False if the folder had the bundle already.
        kept: where the bundle is that was in the folder before; None if there was none.
    """

    digest: str
    totals: Totals
    changed: bool
    kept: Path | None = None


def pull(
    registry: Registry,
    address: OciAddress,
    target: Path,
    *,
    replace: bool = False,
    progress: Progress = ignore,
    accept: Accept = lambda tree, digest: None,
) -> Pulled:
    """Fetch a bundle into a folder.

    Args:
        registry: the repository.
        address: the bundle's tag or digest.
        target: the folder; nothing of it is visible before all is there.
        replace: put the bundle in the place of another one, which is kept beside it as <name>.orig.
        progress: is told about each part.
        accept: is called with the whole bundle's folder, before that is visible, and the artifact's digest; may add files.

    Raises:
        UsageError: the folder has something else.
        DeliveryError: the registry cannot be reached, refuses, or sends something else than a bundle.
        PublishError: the folder cannot be written, the disk is full, or another pull writes it.
        VerifyError: the bundle's bundle.json is damaged.
    """
    document, target = subject_of(registry, address), target.absolute()
    layers = _layers(document, address)
    data = registry.read_bytes(layers[0], MAX_BYTES)
    manifest = Manifest.from_bytes(data, where=f"bundle.json in {document.where}")
    digest, totals = document.descriptor.digest, Totals()
    if _has(target, data, manifest):
        totals.add("skipped", sum(layer.size for layer in layers))
        return Pulled(digest, totals, changed=False)
    check_target(target, replace=replace)
    _check_contents(manifest, layers, document.where)
    with _private(target, digest) as folder:
        _fetch(registry, layers[1:], manifest, folder, totals, progress)
        tree = folder / _TREE
        (tree / "bundle.json").write_bytes(data)
        totals.add("pulled", len(data))
        accept(tree, digest)
        journal.sync_tree(tree)
        kept = _put_into_place(tree, target)
    shutil.rmtree(folder, ignore_errors=True)
    return Pulled(digest, totals, changed=True, kept=kept)


def _check_contents(manifest: Manifest, layers: Sequence[Descriptor], where: str) -> None:
    """Raise DeliveryError if bundle.json lists what is no part of a bundle, or a layer is larger than all files together."""
    for name in manifest.files:
        if not artifact.is_of_bundle(name):
            raise unsafe(f"bundle.json lists {name!r}, which is not a part of a bundle", where)
    most = sum(entry.size for entry in manifest.files.values()) * 1.01 + _OVERHEAD
    for layer in layers:
        if layer.size > most:
            raise unsafe(f"it is to have {layer.size} bytes, more than the whole bundle", where)


def _layers(document: Document, address: OciAddress) -> list[Descriptor]:
    """Return the layers of a bundle's artifact, that of bundle.json first."""
    where = document.where
    config = document.content.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    if document.descriptor.artifact_type != BUNDLE_TYPE:
        is_image = kind == IMAGE_CONFIG or document.descriptor.media_type in INDEXES
        name = "an image" if is_image else f"an artifact of another type ({str(document.descriptor.artifact_type or kind)[:80]})"
        raise DeliveryError(
            f"{address} is {name} and not a bundle.",
            where=where,
            fix="give the tag under which the bundle was pushed; one that ends in -models is the image of the models, "
            "for container runtimes",
            code="TFB9009",
        )
    layers = descriptors(document.content, "layers", where=where)
    first = [layer for layer in layers if layer.media_type == artifact.BUNDLE_JSON]
    if len(first) != 1:
        raise malformed(f"a bundle has one bundle.json, this artifact has {len(first)}", where)
    return [*first, *(layer for layer in layers if layer is not first[0])]


def _has(target: Path, data: bytes, manifest: Manifest) -> bool:
    """Return whether a folder has the bundle already: the same bundle.json, and files of the sizes that it lists."""
    with suppress(OSError):
        same = (target / "bundle.json").read_bytes() == data
        return same and all((target / name).stat().st_size == entry.size for name, entry in manifest.files.items())
    return False


def check_target(target: Path, *, replace: bool) -> None:
    """Check that a bundle may be put into a folder.

    Args:
        target: the folder.
        replace: whether it may have another bundle.

    Raises:
        UsageError: it has something that would be overwritten.
    """
    if not os.path.lexists(target) or (target.is_dir() and not target.is_symlink() and not any(target.iterdir())):
        return
    is_bundle = (target / "bundle.json").is_file() and not target.is_symlink()
    if is_bundle and replace:
        return
    bundle = "another bundle, or the same one with files that are missing or changed"
    has = bundle if is_bundle else "something that is not a bundle"
    raise UsageError(
        f"{target} has {has}; nothing was overwritten.",
        fix="choose another folder with -o DIR"
        + (", or add --replace, which keeps the present bundle beside it as .orig" if is_bundle else ""),
        code="TFB9012",
    )


@contextmanager
def _private(target: Path, digest: str) -> Iterator[Path]:
    """Return a context with the hidden folder, which no other command uses at the same time."""
    folder = target.parent / f".{target.name}.pull-{digest[7:19]}"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        (folder / _TREE).mkdir(parents=True, exist_ok=True, mode=0o755)
        lock.acquire()
        yield folder
    except Timeout as exc:
        raise PublishError(
            f"Another command pulls the same bundle into {target}.", fix="wait until it ends, or choose another folder with -o",
            code="TFB5005",
        ) from exc  # fmt: skip
    except OSError as exc:
        raise _unwritable(exc, target, folder) from exc
    except DeliveryError as exc:
        if exc.code in _REFUSED:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def _unwritable(exc: OSError, target: Path, folder: Path) -> PublishError:
    if is_disk_full(exc):
        return PublishError(
            f"There is no space left to pull {target}; nothing was put into place.",
            where=str(exc.filename or folder),
            fix=f"free space and repeat the command, which goes on; or remove {shell_command(folder)}",
            code="TFB5002",
        )
    return PublishError(
        f"{target} cannot be written: {exc.strerror or exc}.",
        where=str(exc.filename) if exc.filename else None,
        fix="choose a folder that you may write to, with -o DIR",
        code="TFB5001",
    )


def _fetch(
    registry: Registry, layers: list[Descriptor], manifest: Manifest, folder: Path, totals: Totals, progress: Progress
) -> None:
    """Fetch the layers that an earlier pull did not, and check that all files are there."""
    done = _done(folder)
    target = Target(folder / _TREE, manifest.files)
    for layer in layers:
        title = layer.annotations.get(artifact.TITLE, layer.digest)
        where = f"{title!r} in {registry.address}@{layer.digest}"
        key = f"{layer.digest} {title}"  # two files may have one content
        names = done.get(key)
        if names is not None and all(_is(folder / _TREE / name, manifest.files.get(name)) for name in names):
            target.written.update(names)
            outcome: Outcome = "skipped"
        else:
            before = set(target.written)
            _fetch_layer(registry, layer, title, target, where, progress)
            done[key] = sorted(target.written - before)
            _note(folder, done)
            outcome = "pulled"
        totals.add(outcome, layer.size)
        progress(Transfer(title, layer.size, layer.size, outcome=outcome))
    missing = sorted(set(manifest.files) - target.written)
    if missing:
        raise malformed(f"no layer has the file {missing[0]!r} that bundle.json lists", str(registry.address))


def _fetch_layer(
    registry: Registry, layer: Descriptor, title: str, target: Target, where: str, progress: Progress
) -> None:
    def show(count: int) -> None:
        progress(Transfer(title, layer.size, count, "pull"))

    if layer.media_type not in (LAYER, *artifact.FILES.values()):
        raise unsafe(f"its media type {layer.media_type[:80]!r} is not one of a bundle's", where)
    with ahead(registry.read(layer, show)) as chunks:
        try:
            if layer.media_type == LAYER:
                target.extract(chunks, where)
            else:
                target.write_file(title, chunks, where)
        except DeliveryError:
            _drain(chunks)
            raise
        _drain(chunks)


def _drain(chunks: Iterator[bytes]) -> None:
    """Read to the end, where a registry that sends other content than announced is found out."""
    for _ in chunks:
        pass


def _done(folder: Path) -> dict[str, list[str]]:
    """Return the files of each layer that an earlier pull has completed, by the layer's digest and title."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / _DONE).read_text("utf-8"))
        return {str(key): [str(name) for name in names] for key, names in content.items()}
    return {}


def _note(folder: Path, done: dict[str, list[str]]) -> None:
    draft = folder / f"{_DONE}.tmp"
    draft.write_text(json.dumps(done), "utf-8")
    draft.replace(folder / _DONE)


def _is(path: Path, entry: FileEntry | None) -> bool:
    with suppress(OSError):
        return entry is not None and FileEntry.of(path, follow=False) == entry
    return False


def _put_into_place(tree: Path, target: Path) -> Path | None:
    """Rename the complete bundle to its place; return where the bundle is that was there before."""
    kept = None
    if target.is_dir() and any(target.iterdir()):
        kept = _free_name(target)
        target.rename(kept)
    try:
        tree.rename(target)  # takes the place of an empty folder, too
    except OSError as exc:
        if kept is not None:
            kept.rename(target)
        if exc.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise UsageError(
                f"{target} appeared while the bundle was pulled; nothing was overwritten.",
                fix="repeat the command with another folder, or with --replace",
                code="TFB9012",
            ) from exc
        raise
    return kept


def _free_name(path: Path) -> Path:
    candidate, count = path.with_name(f"{path.name}.orig"), 1
    while os.path.lexists(candidate):
        count += 1
        candidate = path.with_name(f"{path.name}.orig.{count}")
    return candidate
