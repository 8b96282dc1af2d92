"""Gzipped bodies. The rules are the real server's; its recordings hold them too."""

from __future__ import annotations

import gzip

import pytest

from serving.server.rest_api.gzip_body import MAX_UNPACKED, claimed_size, is_gzipped, unpacked

BODY = gzip.compress(b'{"inputs": 1}')


def test_body_is_unpacked() -> None:
    assert claimed_size(BODY) == 13
    assert unpacked(BODY) == b'{"inputs": 1}'


@pytest.mark.parametrize(
    "body",
    [b"", b"x", BODY[:-1], BODY + b"x", BODY + BODY, BODY[:-4] + (14).to_bytes(4, "little"), BODY[:-4] + b"\0" * 4, b"plain"],
    ids=["empty", "byte", "cut off", "surplus", "two members", "size too large", "size too small", "not gzip"],
)
def test_damaged_body_counts_as_empty(body: bytes) -> None:
    assert unpacked(body) == b""


def test_body_that_claims_too_much_is_not_unpacked() -> None:
    assert unpacked(BODY[:-4] + (MAX_UNPACKED + 1).to_bytes(4, "little")) == b""


def test_header_names_the_encoding() -> None:
    assert is_gzipped({"content-encoding": "gzip"})
    assert not is_gzipped({"content-encoding": "br"})
    assert not is_gzipped({})
