from __future__ import annotations

import gzip
import io
import os
import zlib

import pytest

from bundler.delivery.oci.gunzip import gunzip

MIXED = os.urandom(100_000) + bytes(100_000) + os.urandom(50_000) + b"weights" * 10_000


def unpacked(data: bytes, step: int) -> bytes:
    return b"".join(gunzip(data[start : start + step] for start in range(0, len(data), step)))


@pytest.mark.parametrize("step", [1009, 1 << 18])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_streams_of_zlib_are_read_stored_and_compressed(level: int, step: int) -> None:
    for content in (MIXED, b"", b"x"):
        assert unpacked(gzip.compress(content, level, mtime=0), step) == content


def test_compressed_block_may_refer_to_stored_ones_before_it() -> None:
    content = os.urandom(40_000)
    compressor = zlib.compressobj(0, wbits=31)
    head = compressor.compress(content) + compressor.flush(zlib.Z_FULL_FLUSH)
    raw = zlib.compressobj(9, wbits=-15, zdict=content[-32_768:])
    tail = raw.compress(content[-20_000:]) + raw.flush()
    assert len(tail) < 1000
    assert unpacked(head + tail + bytes(8), 777) == content + content[-20_000:]


def test_head_with_a_name_is_read() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("layer.tar", "wb", fileobj=buffer) as file:
        file.write(MIXED)
    assert unpacked(buffer.getvalue(), 1 << 16) == MIXED


@pytest.mark.parametrize("level", [0, 6])
def test_stream_that_ends_early_or_is_none_is_an_error(level: int) -> None:
    data = gzip.compress(MIXED, level)
    for size in (0, 5, 11, 13, 1000, len(data) - 9):
        with pytest.raises(EOFError):
            unpacked(data[:size], 1 << 16)
    with pytest.raises(zlib.error):
        unpacked(b"PK" + data, 1 << 16)
    with pytest.raises(zlib.error):
        unpacked(data[:10] + b"\x00\x05\x00\x05\x00" + data, 1 << 16)
