"""Status codes and the messages sent with them."""

from __future__ import annotations

import pytest

from serving.protocol.status import HTTP_STATUS, Code, invalid_argument

CUT = "...TRUNCATED"


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1024 + CUT),
        ("ä" * 512, "ä" * 512),
        ("ä" * 513, "ä" * 512 + CUT),
        ("x" + "ä" * 512, "x" + "ä" * 511 + "\ufffd" + CUT),
        ("x" * 1022 + "\U0001f600", "x" * 1022 + "\ufffd" + CUT),
    ],
    ids=["fits", "long", "fits in bytes", "long in bytes", "within 2 bytes", "within 4 bytes"],
)
def test_a_message_is_cut_after_1024_bytes(message: str, sent: str) -> None:
    """As in model_servers/grpc_status_util.cc; half of a character becomes what a client in Python reads in its place."""
    assert invalid_argument(message).grpc_message == sent
    cut = message.encode()[:1024].decode("utf-8", "replace")
    assert sent.removesuffix(CUT) == cut


@pytest.mark.parametrize("filler", ["", "x" * 2000])
def test_bytes_that_are_not_utf8_are_replaced_over_grpc(filler: str) -> None:
    """gRPC allows UTF-8 only; a client in Python reads a text with one other byte as Latin-1."""
    message = invalid_argument(f"a\udcffb{filler}").grpc_message
    assert message.startswith("a\ufffdb") and len(message) < 1100
    message.encode()


def test_every_code_has_an_http_status() -> None:
    assert HTTP_STATUS.keys() == set(Code)
