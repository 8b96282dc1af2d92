"""The content of a gzip stream that arrives in pieces (RFC 1951, 1952), without a copy where it is stored and not compressed.

A push writes stored blocks only, and zlib would copy a gigabyte several times for them. Where another program has packed a layer
again, zlib takes over at the first block that is compressed. The checksum at the end is not compared: the digest of the whole
layer is, and the sum of each file in it.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

Data = bytes | memoryview

_CHUNK = 1 << 18
_WINDOW = 1 << 15
"""How far back a compressed block may refer."""
_COMPRESSED = 0b110  # the bits of a block's head with its type


def gunzip(chunks: Iterable[bytes]) -> Iterator[Data]:
    """Yield the content of a gzip stream in pieces of at most 256 KiB.

    Raises:
        zlib.error: it is not a gzip stream.
        EOFError: it ends early.
    """
    source = _Source(iter(chunks))
    head = source.exact(10)
    if head[:3] != b"\x1f\x8b\x08" or head[3]:  # a name or other facts follow the head, or this is something else
        yield from _inflated(zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), head, source)
        return
    recent: deque[Data] = deque()
    kept = 0
    while True:
        (kind,) = source.exact(1)
        if kind & _COMPRESSED:
            window = b"".join(recent)[-_WINDOW:]
            yield from _inflated(zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=window), bytes([kind]), source)
            return
        left, inverse = struct.unpack("<HH", source.exact(4))
        if left ^ inverse != 0xFFFF:
            raise zlib.error("a stored block has no length")
        while left:
            part = source.some(left)
            left -= len(part)
            recent.append(part)
            kept += len(part)
            while kept - len(recent[0]) >= _WINDOW:
                kept -= len(recent.popleft())
            yield part
        if kind & 1:
            source.exact(8)
            return


def _inflated(inflater: Any, head: bytes, source: _Source) -> Iterator[Data]:
    """Yield what zlib makes of the rest of a stream."""
    for chunk in chain((head,), source.left()):
        data = chunk
        while data and not inflater.eof:
            out = inflater.decompress(data, _CHUNK)
            if out:
                yield out
            data = inflater.unconsumed_tail
    while not inflater.eof:
        out = inflater.decompress(b"", _CHUNK)
        if not out:
            raise EOFError("it ends early")
        yield out


class _Source:
    """Chunks of bytes, taken in other portions."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")

    def some(self, most: int) -> memoryview:
        """Return at least one byte and at most `most`, without a copy."""
        while not self._view:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise EOFError("it ends early")
            self._view = memoryview(chunk)
        part, self._view = self._view[:most], self._view[most:]
        return part

    def exact(self, size: int) -> bytes:
        """Return so many bytes."""
        data = b""
        while len(data) < size:
            data += self.some(size - len(data))
        return data

    def left(self) -> Iterator[Data]:
        """Yield the rest."""
        if self._view:
            yield self._view
        yield from self._chunks
