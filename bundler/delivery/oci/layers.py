"""Layers whose bytes depend on nothing but the files in them, made while they are read, so that no copy is kept on disk.

A layer is a tar file in a gzip stream, as container runtimes and the ORAS command line extract it. Names are sorted; owner, group
and time are 0; folders have the mode 755 and files 644, so that any user can read them. The gzip stream has stored blocks only,
because weights hardly compress, and they are written here, because releases of zlib differ in where they end a block. So the size
of a layer is known before a file is read, and its content can be given from any offset on, to go on with an upload.
"""

from __future__ import annotations

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.bundle.files import own_file
from bundler.bundle.manifest import FileEntry
from bundler.delivery.oci.descriptors import Descriptor
from bundler.delivery.oci.digests import Digest
from bundler.errors import VerifyError
from serving.regular_file import open_regular

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

_CHUNK = 1 << 18
_BLOCK = 0xFFFF  # the longest stored block (RFC 1951, 3.2.4)
_GZIP_HEAD = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])  # no name, no time, unknown system (RFC 1952)
_GZIP_TAIL = 8
_RECORD = 512
_TAR_END = 2 * _RECORD


@dataclass(frozen=True)
class PackedFile:
    """A file of a bundle.

    Attributes:
        name: its path relative to the bundle.
        entry: the size and sha256 that bundle.json records.
    """

    name: str
    entry: FileEntry


@dataclass(frozen=True)
class _Piece:
    """A part of the tar file: a header or padding, or the content of a file."""

    start: int
    data: bytes = b""
    file: PackedFile | None = None

    @property
    def size(self) -> int:
        return self.file.entry.size if self.file else len(self.data)


@dataclass(frozen=True)
class Sealed:
    """A layer whose digests are known.

    Attributes:
        descriptor: media type, digest and size of the compressed layer.
        diff_id: the digest of the tar file in it (image-spec, config.md).
        checksum: the CRC-32 of the tar file.
    """

    descriptor: Descriptor
    diff_id: str
    checksum: int

    @property
    def unpacked_by_oras(self) -> Descriptor:
        """The descriptor with the annotations by which `oras pull` unpacks it (oras-go, content/file/file.go)."""
        more = {"io.deis.oras.content.unpack": "true", "io.deis.oras.content.digest": self.diff_id}
        return replace(self.descriptor, annotations={**self.descriptor.annotations, **more})


class Layer:
    """The files below one folder of a bundle, as a layer.

    Attributes:
        root: the bundle.
        title: the folder.
        files: the files, sorted by name.
        folders: folders that may be empty.
    """

    def __init__(self, root: Path, title: str, files: Collection[PackedFile], folders: Collection[str] = ()) -> None:
        """Lay the layer out; no file is read.

        Args:
            root: the bundle.
            title: the folder, relative to the bundle; all files are below it.
            files: the files.
            folders: folders that may be empty.
        """
        self.root = root
        self.title = title
        self.files = tuple(sorted(files, key=lambda file: file.name))
        self.folders = tuple(folders)
        self._pieces: list[_Piece] = []
        by_name = {file.name: file for file in files}
        parents = {parent for name in (*by_name, *folders) for parent in _parents(name, title)} | {*folders}
        for name in sorted({*by_name, *parents}):
            file = by_name.get(name)
            self._add(data=_header(name, file.entry.size if file else None))
            if file is not None and file.entry.size:
                self._add(file=file)
                self._add(data=bytes(-file.entry.size % _RECORD))
        self._add(data=bytes(_TAR_END))

    def _add(self, **content: Any) -> None:
        if content.get("data") != b"":
            self._pieces.append(_Piece(self.tar_size, **content))

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of its descriptor."""
        return {"org.opencontainers.image.title": self.title}

    @property
    def tar_size(self) -> int:
        """The size of the tar file in bytes."""
        return self._pieces[-1].start + self._pieces[-1].size if self._pieces else 0

    @property
    def size(self) -> int:
        """The size of the compressed layer in bytes."""
        blocks = -(-self.tar_size // _BLOCK)
        return len(_GZIP_HEAD) + 5 * blocks + self.tar_size + _GZIP_TAIL

    def seal(self, report: Callable[[int], None] = lambda count: None) -> Sealed:
        """Read the files once, compare them with bundle.json, and return the layer's digests.

        Args:
            report: is told how many bytes of the layer have been read.

        Raises:
            VerifyError: a file differs from bundle.json.
        """
        reading, position = Reading(self), 0
        for chunk in reading:
            position += len(chunk)
            report(position)
        return reading.sealed

    def chunks(self, sealed: Sealed, offset: int = 0) -> Iterator[bytes]:
        """Yield the compressed layer from an offset on.

        Raises:
            VerifyError: a file has another size than bundle.json records.
        """
        block = max(0, offset - len(_GZIP_HEAD)) // (_BLOCK + 5)
        position, skip = block * _BLOCK, offset if block == 0 else offset - len(_GZIP_HEAD) - block * (_BLOCK + 5)
        for chunk in self._packed(position, sealed.checksum):
            rest = chunk[skip:] if skip else chunk
            skip = max(0, skip - len(chunk))
            if rest:
                yield rest

    def _packed(self, position: int, checksum: int) -> Iterator[bytes]:
        frame = _Frame(self.tar_size, position)
        if position == 0:
            yield _GZIP_HEAD
        for chunk in self.tar(position):
            yield frame.add(chunk)
        yield _tail(checksum, self.tar_size)

    def tar(self, position: int, checked: _Checked | None = None) -> Iterator[bytes]:
        """Yield the tar file in the layer from a position on; `checked` compares the files with bundle.json."""
        for piece in self._pieces:
            skip = max(0, position - piece.start)
            if skip >= piece.size:
                continue
            if piece.file is None:
                yield piece.data[skip:]
            else:
                yield from self._content(piece.file, skip, checked)

    def _content(self, file: PackedFile, skip: int, checked: _Checked | None) -> Iterator[bytes]:
        left = file.entry.size - skip
        with _open(self.root, file) as source:
            source.seek(skip)
            while left and (chunk := source.read(min(_CHUNK, left))):
                left -= len(chunk)
                if checked is not None:
                    checked.update(chunk)
                yield chunk
            if left or source.read(1):
                raise differs(self.root, file.name)
        if checked is not None and not checked.ends_with(file.entry):
            raise differs(self.root, file.name)


def read_file(root: Path, file: PackedFile, offset: int = 0) -> Iterator[bytes]:
    """Yield the content of a file of a bundle from an offset on, for a layer that is the file itself.

    Raises:
        VerifyError: it has another size than bundle.json records. The registry compares its digest.
    """
    left = file.entry.size - offset
    with _open(root, file) as source:
        source.seek(offset)
        while left and (chunk := source.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
        if left or source.read(1):
            raise differs(root, file.name)


def differs(root: Path, name: str) -> VerifyError:
    """Return the error for a file that is not what bundle.json says."""
    return VerifyError(
        f"{name} is missing or differs from what bundle.json records.",
        where=str(root),
        fix="check the bundle with `tfbundle verify DIR`, and build or fetch it again; let no command write into it meanwhile",
        code="TFB5104",
    )


def _open(root: Path, file: PackedFile) -> Any:
    try:
        return open_regular(own_file(root, root / file.name))
    except OSError as exc:
        raise differs(root, file.name) from exc


def _parents(name: str, title: str) -> Iterator[str]:
    """Yield the folders of a file from the title on; those above it belong to no layer alone."""
    parts = name.split("/")
    for count in range(title.count("/") + 1, len(parts)):
        yield "/".join(parts[:count])


def _header(name: str, size: int | None) -> bytes:
    """Return the header of a file, or of a folder if it has no size."""
    info = tarfile.TarInfo(name if size is not None else f"{name}/")
    info.type = tarfile.REGTYPE if size is not None else tarfile.DIRTYPE
    info.mode, info.size = (0o644, size) if size is not None else (0o755, 0)
    return info.tobuf(tarfile.PAX_FORMAT)


def _tail(checksum: int, size: int) -> bytes:
    return struct.pack("<II", checksum, size & 0xFFFFFFFF)


class _Frame:
    """Writes data of a known size as stored blocks of a gzip stream (RFC 1951, 3.2.4)."""

    def __init__(self, size: int, position: int = 0) -> None:
        """Begin at a position, which is that of a block's beginning."""
        self._size, self._position = size, position

    def add(self, data: bytes) -> bytes:
        """Return data with the heads of the blocks that begin in it."""
        parts: list[bytes | memoryview] = []
        view = memoryview(data)
        while view:
            inside = self._position % _BLOCK
            if inside == 0:
                length = min(_BLOCK, self._size - self._position)
                parts.append(struct.pack("<BHH", self._position + length == self._size, length, length ^ 0xFFFF))
            part = view[: _BLOCK - inside]
            parts.append(part)
            view = view[len(part) :]
            self._position += len(part)
        return b"".join(parts)


class Reading:
    """A reading of a layer's files, which compares them with bundle.json and yields the layer, to hash or to send it.

    Attributes:
        sealed: the layer's digests, once all has been yielded.
    """

    sealed: Sealed

    def __init__(self, layer: Layer) -> None:
        """Keep the layer; nothing is read yet."""
        self._layer = layer

    def __iter__(self) -> Iterator[bytes]:
        """Yield the layer; can be done once.

        Raises:
            VerifyError: a file differs from bundle.json.
        """
        layer, checksum, frame = self._layer, 0, _Frame(self._layer.tar_size)
        with ExitStack() as stack:
            tar, packed = stack.enter_context(Digest()), stack.enter_context(Digest())
            packed.update(_GZIP_HEAD)
            yield _GZIP_HEAD
            for chunk in layer.tar(0, stack.enter_context(_Checked())):
                tar.update(chunk)
                checksum = zlib.crc32(chunk, checksum)
                framed = frame.add(chunk)
                packed.update(framed)
                yield framed
            tail = _tail(checksum, layer.tar_size)
            packed.update(tail)
            descriptor = Descriptor(LAYER, packed.digest(), layer.size, layer.annotations)
            self.sealed = Sealed(descriptor, tar.digest(), checksum)
            yield tail


class _Checked(Digest):
    """The digests of one file after the other."""

    def __enter__(self) -> _Checked:
        return self

    def ends_with(self, entry: FileEntry) -> bool:
        """Return whether the data since the last call are the content of a file, and begin with the next one."""
        found = self.digest()
        self._sha = hashlib.sha256()
        return found == f"sha256:{entry.sha256}"


def folders_below(root: Path, title: str) -> Sequence[str]:
    """Return the folders below one of a bundle that are empty, which its files do not tell: a SavedModel may have one."""
    folder = root / title
    if not folder.is_dir():
        return []
    inside = (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())
    return sorted(path.relative_to(root).as_posix() for path in inside if not any(path.iterdir()))
