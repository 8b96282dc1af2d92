"""Gzipped bodies, by the real server's rules (util/net_http/compression/gzip_zlib.h)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

MAX_UNPACKED = 100 * 1024 * 1024
"""Most bytes of an unpacked body."""
_TRAILER = 4
"""Bytes at the end of a gzip member that hold the size of its content."""


def is_gzipped(headers: Mapping[str, str]) -> bool:
    """Return whether the headers, their names in lower case, say that the body is gzipped."""
    return "gzip" in headers.get("content-encoding", "")


def claimed_size(body: bytes | bytearray) -> int:
    """Return the size of the unpacked body according to its last bytes. A body of another size is damaged."""
    return int.from_bytes(body[-_TRAILER:], "little")


def unpacked(body: bytes | bytearray) -> bytes:
    """Return a body without gzip. A damaged body, or one that is too large when unpacked, counts as empty.

    No more is unpacked than the body's last bytes claim, so that a small body cannot cost much by chance or design.
    """
    size = claimed_size(body)
    if size > MAX_UNPACKED:
        return b""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        content = unpacking.decompress(body, size + 1)
    except zlib.error:
        return b""
    # The real server reads the size from the end of the body, so nothing may follow the first gzip member.
    return content if unpacking.eof and not unpacking.unused_data else b""
