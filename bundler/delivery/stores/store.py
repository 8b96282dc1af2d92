"""The folder of a bundle in a store of files, by fsspec.

What stores have in common is in `Store`; `S3Store` and `GoogleStore` add what only they have: checksums beside the objects, and
writes on condition.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bundler.bundle.manifest import MAX_BYTES, FileEntry, Manifest
from bundler.delivery.stores.failures import explained
from bundler.delivery.stores.private import is_inside
from bundler.errors import DeliveryError, MissingExtraError, UsageError, VerifyError
from bundler.process.extras import require
from bundler.values.addresses import StoreAddress
from serving.extras import is_installed

MANIFEST = "bundle.json"
READ_ONLY = ("http", "https", "hf")
"""Schemes of stores that are only read: uploads to the Hugging Face Hub are commits, which its own tools make."""

PART_BYTES = 8 << 20
"""Size of the parts in which large objects are moved; `PART_BYTES * PARTS` bytes of an object are in memory at once."""
PARTS = 4
_TOKENS = ("ETag", "etag", "generation", "md5", "mtime", "created", "LastModified", "last_modified")

Advance = Callable[[int], None]
"""Called with the number of bytes that have just been moved."""


@dataclass(frozen=True)
class Stored:
    """An object in a store.

    Attributes:
        size: its size in bytes.
        token: a text that changes with the object's content.
    """

    size: int
    token: str


@dataclass(frozen=True)
class Snapshot:
    """The bundle.json of a store at one moment.

    Attributes:
        data: its bytes.
        manifest: its content.
        token: the object's token.
    """

    data: bytes
    manifest: Manifest
    token: str


class Store:
    """A folder in a store. Open one with `open_store`.

    Attributes:
        address: the folder's address.
        files: fsspec's file system.
        root: the folder, as fsspec names it.
    """

    def __init__(self, address: StoreAddress, files: Any) -> None:
        self.address = address
        self.files = files
        self.root: str = files._strip_protocol(str(address)).rstrip("/")
        self._has_folders = address.scheme in ("memory", "file")
        self._is_web = address.scheme in ("http", "https")

    def _path(self, relative: str) -> str:
        return f"{self.root}/{quote(relative) if self._is_web else relative}"

    def check_writable(self) -> None:
        """Raise UsageError if nothing can be written to stores of this kind."""
        if self.address.scheme in READ_ONLY:
            raise UsageError(
                f"{self.address} can only be read; tfbundle does not write to {self.address.scheme}:// addresses.",
                fix="write to a bucket (s3://, gs://, az://) or a folder, and upload that with the host's own tools",
                code="TFB9107",
            )

    def listing(self) -> dict[str, Stored] | None:
        """Return all objects by path relative to the root; None for a web server, which lists nothing.

        Names that lead out of the folder are left out: nothing but a listing refers to them.
        """
        if self._is_web:
            return None
        self.files.invalidate_cache()
        with explained(self.address, "listing the folder"):
            try:
                found = self.files.find(self.root, detail=True)
            except FileNotFoundError as exc:
                if exc.filename is None and exc.__cause__ is not None:
                    raise
                return {}
        prefix = f"{self.root}/"
        names = {name[len(prefix) :]: info for name, info in found.items() if name.startswith(prefix)}
        return {name: _stored(info) for name, info in names.items() if is_inside(name)}

    def stored(self, path: str) -> Stored | None:
        """Return the size and token of an object; None if there is none."""
        self.files.invalidate_cache()
        with explained(self.address, f"reading {path}"):
            try:
                return _stored(self.files.info(self._path(path)))
            except FileNotFoundError as exc:
                if type(exc.__cause__).__name__ == "NoSuchBucket":
                    raise
                return None

    def read(self, path: str, limit: int = MAX_BYTES) -> bytes | None:
        """Return the content of a small object; None if there is none.

        Raises:
            DeliveryError: the store cannot be read, or the object is larger than `limit`.
        """
        with explained(self.address, f"reading {path}"):
            try:
                data: bytes = self.files.cat_file(self._path(path), start=0, end=limit + 1)
            except FileNotFoundError as exc:
                if "bucket does not exist" in str(exc):
                    raise
                return None
            except ValueError:  # a web server that does not know ranges, or an empty file
                data = self.files.cat_file(self._path(path))
        if len(data) > limit:
            what = f"{path} has more than {limit} bytes, the most that is read."
            raise DeliveryError(what, where=str(self.address), fix="check what was written there", code="TFB9106")
        return data

    def snapshot(self) -> Snapshot | None:
        """Return the store's bundle.json with a token that belongs to these bytes; None if there is none.

        Raises:
            VerifyError: bundle.json is damaged.
        """
        before = self.stored(MANIFEST)
        while before is not None:
            data, after = self.read(MANIFEST), self.stored(MANIFEST)
            if data is not None and before == after:
                return Snapshot(data, Manifest.from_bytes(data, where=f"{self.address}/{MANIFEST}"), before.token)
            before = after
        return None

    def open(self) -> Snapshot:
        """Return the store's bundle.json.

        Raises:
            VerifyError: there is none, or a damaged one.
        """
        found = self.snapshot()
        if found is None:
            self.listing()  # a bucket that does not exist has a message of its own
            raise VerifyError(
                f"{self.address} is not a bundle: it has no {MANIFEST}.",
                fix="give the address that a build with -o, or `tfbundle push DIR ADDRESS`, wrote to",
                code="TFB9108",
            )
        return found

    def download(self, path: str, target: Path, advance: Advance) -> None:
        """Write an object to a local file.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: the local file cannot be written.
        """
        with explained(self.address, f"downloading {path}"):
            self.files.get_file(self._path(path), str(target), callback=_callback(advance), **self._transfer_options())

    def upload(self, source: Path, path: str, entry: FileEntry, advance: Advance) -> None:
        """Write a local file to an object, with its sha256 where the store can keep it."""
        target = self._path(path)
        with explained(self.address, f"uploading {path}", writes=True):
            if self._has_folders:
                self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self.files.put_file(str(source), target, callback=_callback(advance), **self._upload_options(path, entry))

    def write(self, path: str, data: bytes) -> None:
        """Write a small object."""
        with explained(self.address, f"writing {path}", writes=True):
            if self._has_folders:
                self.files.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(self._path(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small object unless there is one already; return whether it was written.

        S3, Google Cloud Storage, Azure and fsspec's memory do this in one step. In a store that ignores the condition, the last
        of two writers wins, so that each of them reads what it wrote.
        """
        with explained(self.address, f"writing {path}", writes=True):
            if self._has_folders:
                self.files.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)
            try:
                self.files.pipe_file(self._path(path), data, mode="create")
            except FileExistsError:
                return False
        return self.read(path) == data

    def replace_manifest(self, data: bytes, token: str | None) -> bool:
        """Write bundle.json if it still has `token`, or does not exist for None; return whether it was written.

        A store without conditions on writes is asked for the token just before; the lease covers the moment between.
        """
        if token is None:
            return self.create(MANIFEST, data)
        found = self.stored(MANIFEST)
        if found is None or found.token != token:
            return False
        self.write(MANIFEST, data)
        return True

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects; one that is gone already counts as removed."""
        for path in paths:
            with explained(self.address, f"removing {path}"):
                try:
                    self.files.rm_file(self._path(path))
                except FileNotFoundError:
                    continue

    def sha256(self, path: str) -> str | None:
        """Return the sha256 that the store keeps for an object; None if it keeps none."""
        return None

    def _upload_options(self, path: str, entry: FileEntry) -> dict[str, Any]:
        return {}

    def _transfer_options(self) -> dict[str, Any]:
        return {}


class S3Store(Store):
    """A folder in a bucket of S3, or of a server that speaks its protocol."""

    def _key(self, path: str) -> dict[str, str]:
        bucket, key, _ = self.files.split_path(self._path(path))
        return {"Bucket": bucket, "Key": key}

    def replace_manifest(self, data: bytes, token: str | None) -> bool:
        """Write bundle.json if it still has `token`, in one step (docs.aws.amazon.com/AmazonS3, "Conditional writes")."""
        if token is None:
            return self.create(MANIFEST, data)
        with explained(self.address, f"writing {MANIFEST}", writes=True):
            try:
                self.files.call_s3("put_object", **self._key(MANIFEST), Body=data, ContentType="application/json", IfMatch=token)
            except OSError as exc:
                if _error_code(exc) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                    return False
                raise
        return True

    def sha256(self, path: str) -> str | None:
        """Return the sha256 that S3 computed of the whole object, or else the one that `upload` put beside it.

        S3 keeps none of the whole object if it was uploaded in parts; its metadata cannot be changed without a new object.
        """
        with explained(self.address, f"reading the checksum of {path}"):
            head = self.files.call_s3("head_object", **self._key(path), ChecksumMode="ENABLED")
        text = head.get("ChecksumSHA256", "")
        if text and "-" not in text:
            return base64.b64decode(text).hex()
        kept: str | None = head.get("Metadata", {}).get("sha256")
        return kept

    def _upload_options(self, path: str, entry: FileEntry) -> dict[str, Any]:
        options: dict[str, Any] = {"chunksize": PART_BYTES, "max_concurrency": PARTS, "Metadata": {"sha256": entry.sha256}}
        if entry.size < 2 * PART_BYTES:  # s3fs sends a smaller file in one request, and S3 refuses it if the checksum differs
            checksum = base64.b64encode(bytes.fromhex(entry.sha256)).decode("ascii")
            options |= {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum}
        return options | {"ContentType": mimetypes.guess_type(path)[0] or "application/octet-stream"}

    def _transfer_options(self) -> dict[str, Any]:
        return {"chunksize": PART_BYTES, "max_concurrency": PARTS}


class GoogleStore(Store):
    """A folder in a bucket of Google Cloud Storage."""

    def sha256(self, path: str) -> str | None:
        """Return the sha256 that `upload` put beside the object; its metadata and its content have one generation."""
        with explained(self.address, f"reading the checksum of {path}"):
            kept: str | None = (self.files.info(self._path(path)).get("metadata") or {}).get("sha256")
        return kept

    def _upload_options(self, path: str, entry: FileEntry) -> dict[str, Any]:
        return {"metadata": {"sha256": entry.sha256}, "chunksize": PART_BYTES}


_KINDS: dict[str, type[Store]] = {"s3": S3Store, "gs": GoogleStore}
_EXTRAS = {"s3": "s3", "gs": "gcs", "hf": "hf"}
_PACKAGES = {"az": "adlfs", "abfs": "adlfs", "http": "aiohttp", "https": "aiohttp"}
"""Packages that no extra has, by scheme."""


def open_store(address: StoreAddress) -> Store:
    """Return the folder at an address. Credentials and the endpoint come from the environment, as fsspec's packages read them.

    Raises:
        MissingExtraError: the package for stores of this kind is not installed.
        DeliveryError: there are no credentials.
    """
    require(_EXTRAS.get(address.scheme, "remote"), f"{address.scheme}://")
    package = _PACKAGES.get(address.scheme, "fsspec")
    if not is_installed(package):
        raise MissingExtraError(package, "remote", purpose=f"{address.scheme}://", command=f"pip install {package}")
    import fsspec

    with explained(address, "opening the store"):
        files = fsspec.filesystem(address.scheme)
        return _KINDS.get(address.scheme, Store)(address, files)


def _stored(info: dict[str, Any]) -> Stored:
    token = next((str(info[key]) for key in _TOKENS if info.get(key)), "")
    return Stored(int(info.get("size") or 0), token)


def _callback(advance: Advance) -> Any:
    from fsspec.callbacks import Callback

    class Moved(Callback):  # type: ignore[misc]
        done = 0

        def relative_update(self, inc: int = 1) -> None:
            self.done += inc
            advance(inc)

        def absolute_update(self, value: int) -> None:
            self.relative_update(value - self.done)

    return Moved()


def _error_code(exc: BaseException) -> str:
    response = getattr(exc.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
