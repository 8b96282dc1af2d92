"""Extracting layers that anybody may have made: only files that bundle.json lists are written, with the sizes and sums it has.

So a name with `../`, an absolute name, a link, a device, a second file of the same name, a file of another size and a tar file
that unfolds into terabytes are all refused before they have an effect.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bundler.bundle.manifest import FileEntry
from bundler.delivery.oci.digests import Digest
from bundler.delivery.oci.gunzip import Data, gunzip
from bundler.errors import DeliveryError

_CHUNK = 1 << 18
_LONGEST_HEADER = 1 << 16
"""Bytes of an extended header; a path has at most 4096."""
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a FIFO", tarfile.GNUTYPE_SPARSE: "a sparse file",
}  # fmt: skip
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)


class Target:
    """A private folder into which the files of a bundle are extracted.

    Attributes:
        written: the names of the files that are complete.
    """

    def __init__(self, folder: Path, files: Mapping[str, FileEntry]) -> None:
        """Keep what may be written.

        Args:
            folder: the folder; nobody else writes into it.
            files: the files that bundle.json lists.
        """
        self.written: set[str] = set()
        self._folder = folder
        self._files = files
        self._folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}

    def write_file(self, name: str, chunks: Iterable[Data], where: str) -> None:
        """Write one file.

        Args:
            name: its path, as somebody gave it.
            chunks: its content.
            where: names the layer in messages.

        Raises:
            DeliveryError: bundle.json does not list it, or lists it with another size or sum.
            OSError: it cannot be written.
        """
        self._check_name(name, where)
        entry, size = self._files[name], 0
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with Digest() as digest, os.fdopen(os.open(path, flags, 0o644), "wb", buffering=0) as file:
            for chunk in chunks:
                size += len(chunk)
                if size > entry.size:
                    break
                digest.update(chunk)
                _write(file, chunk)
            is_same = (size, digest.digest()) == (entry.size, f"sha256:{entry.sha256}")
            os.fsync(file.fileno())
        if not is_same:
            path.unlink()
            raise unsafe(f"the file {name!r} has another size or sum than bundle.json records", where)
        self.written.add(name)

    def extract(self, chunks: Iterable[bytes], where: str) -> None:
        """Extract a layer, a tar file in a gzip stream.

        Args:
            chunks: the layer.
            where: names it in messages.

        Raises:
            DeliveryError: it has something that bundle.json does not list, or cannot be read.
            OSError: a file cannot be written.
        """
        limit = sum(entry.size for entry in self._files.values()) + (len(self._files) + len(self._folders) + 1024) * 4096
        stream = _Unpacked(chunks, limit, where)
        try:
            with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as tar:  # type: ignore[call-overload]
                for member in tar:
                    self._extract_member(stream, member, where)
            stream.drain()
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError) as exc:
            raise unsafe(f"it is not a tar file in a gzip stream ({exc})", where) from exc

    def _extract_member(self, stream: _Unpacked, member: tarfile.TarInfo, where: str) -> None:
        """Extract a member, whose content is read from the stream itself, as tarfile would copy it three times."""
        name = member.name
        if member.isdir():
            self._make_folder(name.rstrip("/"), where)
            return
        if member.type not in _FILE_TYPES or member.issparse():
            raise unsafe(f"{name!r} is {_KINDS.get(member.type, 'neither a file nor a folder')}", where)
        self._check_name(name, where)
        if member.size != self._files[name].size:
            raise unsafe(f"the file {name!r} has another size than bundle.json records", where)
        self.write_file(name, stream.take(member.size), where)

    def _make_folder(self, name: str, where: str) -> None:
        """Make a folder of a file, or an empty one below a version."""
        path = PurePosixPath(name)
        is_sound = not path.is_absolute() and ".." not in path.parts and str(path) == name and "\0" not in name
        if not is_sound or (name not in self._folders and not (path.parts[0] == "models" and len(path.parts) > 3)):
            raise unsafe(f"the folder {name!r} does not belong to the bundle", where)
        if any(str(parent) in self._files for parent in (path, *path.parents)):
            raise unsafe(f"the folder {name!r} has the name of a file", where)
        (self._folder / name).mkdir(parents=True, exist_ok=True)

    def _check_name(self, name: str, where: str) -> None:
        path = PurePosixPath(name)
        if path.is_absolute():
            raise unsafe(f"the name {name!r} is absolute", where)
        if ".." in path.parts:
            raise unsafe(f"the name {name!r} leads out of the folder", where)
        if name in self.written:
            raise unsafe(f"the file {name!r} occurs twice", where)
        if name not in self._files:
            raise unsafe(f"bundle.json does not list the file {name!r}", where)


class _Member(tarfile.TarInfo):
    """A header that is refused if it is followed by an extended header that would not fit into memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in (*_FILE_TYPES, tarfile.DIRTYPE) and member.size > _LONGEST_HEADER:
            raise ValueError("it has a header of more than 64 KiB")
        return member


class _Unpacked:
    """The tar file in a gzip stream, as a file that is read from its beginning to its end."""

    def __init__(self, chunks: Iterable[bytes], limit: int, where: str) -> None:
        self._pieces = gunzip(chunks)
        self._limit, self._where = limit, where
        self._rest: Data = b""
        self._position = self._unpacked = 0

    def some(self, most: int) -> Data:
        """Return up to `most` bytes; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise unsafe("it unfolds into more than bundle.json announces", self._where)
            self._rest = memoryview(piece)
        part, self._rest = self._rest[:most], self._rest[most:]
        self._position += len(part)
        return part

    def take(self, size: int) -> Iterator[Data]:
        """Yield the next bytes, fewer if the file ends before."""
        while size and (part := self.some(size)):
            size -= len(part)
            yield part

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer if the file ends before."""
        return b"".join(self.take(size))

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on to a position."""
        if position < self._position:
            raise ValueError("it would have to be read once more")
        for _ in self.take(position - self._position):
            pass

    def drain(self) -> None:
        """Read to the end."""
        while self.some(_CHUNK):
            pass


def _write(file: Any, data: Data) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def unsafe(how: str, where: str) -> DeliveryError:
    """Return the error for a layer that is not what a push makes."""
    return DeliveryError(
        f"A layer was refused: {how}. Nothing of the artifact was put into place.",
        where=where,
        fix="do not use this artifact; ask who pushed it, and push the bundle again",
        code="TFB9011",
    )
