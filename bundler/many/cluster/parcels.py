"""Folders as chunks of a tar archive, so that neither side ever holds more than a chunk in memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_BYTES = 8 << 20

_COPIED = 1 << 20


def pack(files: Iterable[tuple[str, Path]], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a tar archive in chunks.

    Args:
        files: name in the archive, and path; links are followed.
        chunk_bytes: size of a chunk; the last one is smaller.

    Raises:
        OSError: a file cannot be read, or changes its size meanwhile.
    """
    buffer = _Chunks(chunk_bytes)
    with tarfile.open(fileobj=buffer, mode="w|", format=tarfile.PAX_FORMAT, bufsize=tarfile.RECORDSIZE) as archive:
        for name, path in files:
            header = tarfile.TarInfo(name)
            with path.open("rb") as file:
                status = path.stat()
                header.size, header.mode, header.mtime = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644, 0
                yield from _added(archive, header, file, buffer)
    yield from buffer.take(last=True)


def _added(archive: tarfile.TarFile, header: tarfile.TarInfo, file: io.BufferedReader, buffer: _Chunks) -> Iterator[bytes]:
    """Add a file to the archive piece by piece; yield the chunks that are full meanwhile."""
    block = header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    assert archive.fileobj is not None
    archive.fileobj.write(block)
    left = header.size
    while left:
        piece = file.read(min(_COPIED, left))
        if not piece:
            raise OSError(f"{header.name} became shorter while it was read")
        archive.fileobj.write(piece)
        left -= len(piece)
        yield from buffer.take()
    padding = -header.size % tarfile.BLOCKSIZE
    archive.fileobj.write(b"\0" * padding)
    archive.offset += len(block) + header.size + padding
    yield from buffer.take()


class _Chunks(io.RawIOBase):
    """What has been written and not been taken yet."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._content = bytearray()

    def write(self, data: object) -> int:
        self._content += data  # type: ignore[arg-type]  # bytes
        return len(data)  # type: ignore[arg-type]

    def take(self, *, last: bool = False) -> Iterator[bytes]:
        while len(self._content) >= self._size or (last and self._content):
            chunk = bytes(self._content[: self._size])
            del self._content[: self._size]
            yield chunk


def unpack(chunks: Iterable[bytes], folder: Path) -> None:
    """Write the files of an archive below a folder; names that lead out of it are refused.

    Raises:
        tarfile.TarError: the chunks are not an archive, or not all of one.
        OSError: the folder cannot be written.
    """
    with tarfile.open(fileobj=_Reader(chunks), mode="r|") as archive:
        archive.extractall(folder, filter="data")


class _Reader(io.RawIOBase):
    """Chunks as a file; each is taken when it is needed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        pieces = []
        while size and (self._rest or self._advance()):
            pieces.append(bytes(self._rest[:size]))
            self._rest = self._rest[size:]
            size -= len(pieces[-1])
        return b"".join(pieces)

    def _advance(self) -> bool:
        self._rest = memoryview(next(self._chunks, b""))
        return bool(self._rest)
