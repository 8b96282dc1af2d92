"""The JSON parser: Python's parser and the exact one agree, and errors are RapidJSON's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.json_parser import _normal_precision, _Parser, has_long_numbers, parse_object
from serving.protocol.status import StatusError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_both_parsers_read_the_same(document: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    exact = _Parser(body).parse()
    assert _close(parse_object(body), exact)
    assert _close(exact, document)


def _close(got: Any, want: Any) -> bool:
    """Return whether values are equal except for the last digit of floats: the exact parser rounds as RapidJSON does."""
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(_close(got[key], want[key]) for key in want)
    if isinstance(want, list):
        return len(got) == len(want) and all(map(_close, got, want))
    if isinstance(want, float):
        return got == want or abs(got - want) <= 4 * np.spacing(abs(want))
    return bool(got == want)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b" ", "The document is empty. at offset: 1"),
        (b" }", "The document is empty. at offset: 1"),
        (b'\xef{"a"', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a"}', "Missing a colon after a name of object member. at offset: 4"),
        (b'{"a":"b', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"\\u12x4"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
        (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1e}', "Miss exponent in number. at offset: 7"),
        (b'{"a":-}', "Invalid value. at offset: 6"),
        (b'{"a":tru}', "Invalid value. at offset: 8"),
        (b'{"a":' + b"9" * 400 + b"}", "Number too big to be stored in double. at offset: 5"),
        (b'{"a":-' + b"9" * 5000 + b"}", "Number too big to be stored in double. at offset: 5"),
        (b'{"a":[1 2]}', "Missing a comma or ']' after an array element. at offset: 8"),
        (b'{"a":}', "Invalid value. at offset: 5"),
        (b"[" * 100_000, "Invalid value. at offset: 100000"),
    ],
)
def test_parse_errors_have_the_text_and_offset_of_rapidjson(body: bytes, error: str) -> None:
    with pytest.raises(StatusError) as wrong:
        parse_object(body)
    assert wrong.value.message == f"JSON Parse error: {error}"


@pytest.mark.parametrize(
    ("body", "long"),
    [
        (b'{"instances": [[1.5, 2]], "signature_name": "one"}', False),
        (b'{"inputs": [0.12345678901234]}', False),
        (b'{"inputs": [0.123456789012345678]}', True),
        (b'{"inputs": [1e5]}', True),
        (b'{"inputs": [1.5E-3]}', True),
    ],
)
def test_only_bodies_with_long_numbers_may_be_read_twice(body: bytes, long: bool) -> None:
    assert has_long_numbers(body) == long


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,18})\.[0-9]{1,25}", fullmatch=True))
def test_both_ways_to_read_a_double_agree(text: str) -> None:
    assert _normal_precision(text) == _Parser(text.encode())._number()
