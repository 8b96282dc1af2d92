"""JSON text: quoted values, and base64 as the server reads it."""

from __future__ import annotations

import pytest

from serving.protocol.json_text import debug_text, decode_base64


def test_quoted_values_are_cut_off() -> None:
    text = debug_text({"a": list(range(1000))})
    assert text.startswith('{\n    "a": [0, 1, 2')
    assert 256 <= len(text) < 270


@pytest.mark.parametrize("text", ["YQ==", "YQ", "YQ..", "YQ.=", "YQ= =", "Y Q"])
def test_padding_may_be_missing_or_dots(text: str) -> None:
    assert decode_base64(text) == b"a"


@pytest.mark.parametrize("text", ["YWJj.", "YWJj=", "Y", "YW=Jj", "YWI==", "_-8=", "@@@"])
def test_wrong_base64_is_refused(text: str) -> None:
    assert decode_base64(text) is None
