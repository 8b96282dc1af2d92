"""Shards in a bucket or registry, where machines that build parts of the models meet.

s3://bucket/run/shard-2-of-3/…       a folder of the store; shard.json is written last
oci://host/repository:run-shard-2-of-3   an artifact: shard.json is a layer, and so is each entry
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bundler.delivery.oci.descriptors import EMPTY, MANIFEST, Descriptor, descriptors, to_bytes
from bundler.delivery.oci.layers import LAYER, Layer, PackedFile
from bundler.delivery.oci.registry import Registry
from bundler.delivery.oci.unpack import Target
from bundler.delivery.stores.store import Advance, Store, open_store
from bundler.delivery.stores.transfer import run_all
from bundler.delivery.transfers import Progress, Transfer, ignore
from bundler.errors import VerifyError
from bundler.many.shards import FILE, LARGEST_INDEX, ShardFolder, damaged_shard
from bundler.values.addresses import OciAddress, StoreAddress, parse_address

ARTIFACT_TYPE = "application/vnd.tfbundle.shard.v1+json"
_NAME = re.compile(r"shard-\d+-of-\d+")
_TITLE = "org.opencontainers.image.title"


def upload(shard: ShardFolder, address: str, *, insecure: bool = False, progress: Progress = ignore) -> str:
    """Upload a shard below an address, and return its own address.

    Args:
        shard: the shard on this machine.
        address: the address of all shards of the build.
        insecure: speak plain HTTP with a registry on this machine.
        progress: called as bytes are uploaded.

    Raises:
        DeliveryError: the store or registry cannot be reached, refuses, or fails.
        UsageError: the address has another form, or nothing can be written there.
    """
    where = parse_address(address)
    if isinstance(where, StoreAddress):
        return _to_store(shard, replace(where, path=f"{where.path}/{shard.shard.name}"), progress)
    return _to_registry(shard, replace(where, tag=_tag(where, shard.shard.name)), insecure, progress)


def _tag(address: OciAddress, name: str) -> str:
    return f"{address.tag or 'latest'}-{name}"


def _to_store(shard: ShardFolder, address: StoreAddress, progress: Progress) -> str:
    store = open_store(address)
    store.check_writable()

    def move(path: str, advance: Advance) -> None:
        store.upload(shard.folder / path, path, shard.files[path], advance)

    total = sum(entry.size for entry in shard.files.values())
    run_all(sorted(shard.files), move, total=total, verb="push", outcome="pushed", progress=progress)
    store.write(FILE, (shard.folder / FILE).read_bytes())
    return str(address)


def _to_registry(shard: ShardFolder, address: OciAddress, insecure: bool, progress: Progress) -> str:
    registry = Registry.at(address, insecure=insecure)
    index = (shard.folder / FILE).read_bytes()
    registry.put_blob(index)
    registry.put_blob(b"{}")
    rows = [Descriptor.of(index, ARTIFACT_TYPE, annotations={_TITLE: FILE}).to_json()]
    rows += [_push_entry(registry, layer, progress).to_json() for layer in _layers(shard)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": Descriptor.of(b"{}", EMPTY).to_json(),
        "layers": rows,
    }
    registry.put_manifest(to_bytes(manifest), MANIFEST, tag=address.tag)
    return str(address)


def _layers(shard: ShardFolder) -> Iterator[Layer]:
    by_entry: dict[str, list[PackedFile]] = {}
    for path, entry in shard.files.items():
        by_entry.setdefault("/".join(path.split("/")[:2]), []).append(PackedFile(path, entry))
    for title, files in sorted(by_entry.items()):
        yield Layer(shard.folder, title, files)


def _push_entry(registry: Registry, layer: Layer, progress: Progress) -> Descriptor:
    sealed = layer.seal()
    if not registry.has_blob(sealed.descriptor.digest):
        registry.upload(sealed.descriptor, lambda offset: layer.chunks(sealed, offset))
    progress(Transfer(layer.title, layer.size, layer.size, outcome="pushed"))
    return sealed.descriptor


def download(address: str, into: Path, *, insecure: bool = False, progress: Progress = ignore) -> list[Path]:
    """Download the shard at an address, or all shards below it, and return their folders.

    Args:
        address: the address of a shard, or the one that was given to builds with --shard.
        into: a private folder.
        insecure: speak plain HTTP with a registry on this machine.
        progress: called as bytes are downloaded.

    Raises:
        VerifyError: there is no shard, or a damaged one.
        DeliveryError: the store or registry cannot be reached, refuses, or fails.
        UsageError: the address has another form.
    """
    where = parse_address(address)
    if isinstance(where, StoreAddress):
        return [_from_store(open_store(each), into, progress) for each in _stored(where)]
    registry = Registry.at(where, insecure=insecure)
    return [_from_registry(registry, each, into, progress) for each in _tagged(registry, where)]


def present(address: str, *, insecure: bool = False) -> list[str]:
    """Return the names of the shards below the address of a build, `shard-2-of-3`; nothing if there is none.

    Raises:
        DeliveryError: the store or registry cannot be reached, refuses, or fails.
        UsageError: the address has another form.
    """
    where = parse_address(address)
    try:
        if isinstance(where, StoreAddress):
            return [each.path.rpartition("/")[2] for each in _stored(where)]
        found = _tagged(Registry.at(where, insecure=insecure), where)
    except VerifyError:
        return []
    return [match[0] for each in found if (match := _NAME.search(each.tag or ""))]


def _stored(address: StoreAddress) -> list[StoreAddress]:
    """Return the address if it is that of a shard, else those of the shards below it."""
    store = open_store(address)
    if store.stored(FILE) is not None:
        return [address]
    found = sorted({name.split("/")[0] for name in store.listing() or () if name.endswith(f"/{FILE}")})
    names = [name for name in found if _NAME.fullmatch(name)]
    if not names:
        raise _no_shard(str(address))
    return [replace(address, path=f"{address.path}/{name}") for name in names]


def _no_shard(shown: str) -> VerifyError:
    return VerifyError(
        f"There is no shard at {shown}.", fix="give the address that builds with --shard wrote to with -o", code="TFB5208"
    )


def _from_store(store: Store, into: Path, progress: Progress) -> Path:
    shown = str(store.address)
    data = store.read(FILE, LARGEST_INDEX)
    if data is None:
        raise _no_shard(shown)
    folder, shard = _begin(data, into, shown)

    def move(path: str, advance: Advance) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.download(path, target, advance)
        except FileNotFoundError as exc:
            raise damaged_shard(shown, f"{path} is missing") from exc

    total = sum(entry.size for entry in shard.files.values())
    run_all(sorted(shard.files), move, total=total, verb="pull", outcome="pulled", progress=progress)
    return _end(folder, data)


def _begin(data: bytes, into: Path, shown: str) -> tuple[Path, ShardFolder]:
    """Check a shard.json, and return the new folder for its files and what it says."""
    shard = ShardFolder.parse(data, into, shown)
    folder = into / shard.shard.name
    number = 1
    while folder.exists():  # given twice, or of two builds: what merges them says so
        number += 1
        folder = into / f"{shard.shard.name}.{number}"
    folder.mkdir(parents=True)
    return folder, shard


def _end(folder: Path, data: bytes) -> Path:
    (folder / FILE).write_bytes(data)
    return folder


def _tagged(registry: Registry, address: OciAddress) -> list[OciAddress]:
    """Return the address if it is that of a shard, else those of the shards whose tags begin with its own."""
    if address.digest or _NAME.search(address.tag or ""):
        return [address]
    prefix = _tag(address, "")
    names = sorted(tag for tag in registry.tags() if tag.startswith(prefix) and _NAME.fullmatch(tag.removeprefix(prefix)))
    if not names:
        raise _no_shard(str(address))
    return [replace(address, tag=name) for name in names]


def _from_registry(registry: Registry, address: OciAddress, into: Path, progress: Progress) -> Path:
    document = registry.document(address.reference)
    if document.descriptor.artifact_type != ARTIFACT_TYPE:
        raise _no_shard(str(address))
    index, *layers = descriptors(document.content, "layers", where=document.where)
    data = registry.read_bytes(index, LARGEST_INDEX)
    folder, shard = _begin(data, into, str(address))
    target = Target(folder, shard.files)
    for layer in layers:
        if layer.media_type != LAYER:
            raise damaged_shard(str(address), f"a layer has the media type {layer.media_type[:80]!r}")
        target.extract(registry.read(layer), f"{layer.digest} in {document.where}")
        progress(Transfer(layer.digest[7:19], layer.size, layer.size, outcome="pulled"))
    return _end(folder, data)
