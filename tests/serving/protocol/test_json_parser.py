"""The JSON parser: Python's parser and the exact one agree, and errors are RapidJSON's."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.json_parser import (
    _DIGIT_RUN,
    _has_digit_run,
    _normal_precision,
    _Parser,
    has_long_numbers,
    parse_object,
)
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


DEEP = 128


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": ' + b"[" * (DEEP - 1) + b"1" + b"]" * (DEEP - 1) + b"}",
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"a": "' + b"[" * 1000 + b'"}',
        b'{"a": "\\"' + b"[{" * 1000 + b'\\\\"}',
        b'{"a": [' + b"[1]," * 1000 + b"1]}",
        b'{"a": ["' + b"]" * 1000 + b'", ' + b"[" * (DEEP - 2) + b"]" * (DEEP - 2) + b"]}",
    ],
    ids=["lists", "objects", "string", "escapes", "side by side", "closed in a string"],
)
def test_body_within_the_nesting_limit_is_read(body: bytes) -> None:
    assert parse_object(body, max_nesting=DEEP) == parse_object(body)


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (b'{"a": ' + b"[" * DEEP + b"1" + b"]" * DEEP + b"}", 6 + DEEP - 1),
        (b'{"a":' * (DEEP + 1) + b"1" + b"}" * (DEEP + 1), 5 * DEEP),
        (b'{"b": "\\\\", "a": ' + b"[" * DEEP + b"1" + b"]" * DEEP + b"}", 17 + DEEP - 1),
        (b'{"x": [' + b"1," * 2**19 + b'1], "a": ' + b"[" * DEEP + b"]" * DEEP + b"}", 7 + 2**20 + 9 + DEEP - 1),
        (b'{"a": ["' + b"]" * 1000 + b'", ' + b"[" * DEEP + b"]" * DEEP + b"]}", 8 + 1000 + 3 + DEEP - 2),
    ],
    ids=["lists", "objects", "after an escape", "far behind", "closed in a string"],
)
def test_body_over_the_nesting_limit_is_refused(body: bytes, offset: int) -> None:
    with pytest.raises(StatusError) as error:
        parse_object(body, max_nesting=DEEP)
    assert str(error.value) == (
        f"INVALID_ARGUMENT: The JSON body has more than {DEEP} arrays and objects inside each other at offset: {offset}; "
        "--max_nesting sets this limit."
    )
    parse_object(body)


@pytest.mark.parametrize(
    ("body", "offset"), [(b"[" * 10**6, 10**6), (b'{"a":' * 10**5, 5 * 10**5), (b' { "a" : [\n' * 10**5, 11 * 10**5)]
)
def test_body_of_openings_only_has_the_servers_error(body: bytes, offset: int) -> None:
    with pytest.raises(StatusError) as error:
        parse_object(body, max_nesting=DEEP)
    assert str(error.value) == f"INVALID_ARGUMENT: JSON Parse error: Invalid value. at offset: {offset}"


def test_earlier_error_comes_before_the_nesting_limit() -> None:
    with pytest.raises(StatusError, match="Missing a colon after a name of object member"):
        parse_object(b'{"a" 1, "b": ' + b"[" * 1000 + b"]" * 1000 + b"}", max_nesting=DEEP)


@pytest.mark.parametrize(
    "part", [b'{"a":', b"[", b'[[],"', b'"\\"[', b"0." + b"0" * 297 + b",", b'{"a":"[', b"\\ud800", b"[1e5,"], ids=str
)
def test_hostile_body_takes_linear_time(part: bytes) -> None:
    """Four times the bytes take four times the time, not sixteen times."""

    def seconds(size: int) -> float:
        body = b'{"x": [' + part * (size // len(part))
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            with pytest.raises(StatusError):
                parse_object(body, max_nesting=DEEP)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(2**19) < 9 * seconds(2**17) + 0.02


@pytest.mark.parametrize(
    ("digits", "is_one"),
    [
        (b"0.00012345678901234567", False), (b"0." + b"0" * 40, False), (b"0." + b"0" * 30 + b"1,12345678901234567890", True),
        (b"12345678901234567890", True), (b"1234567890123456789", False), (b"0.0001" + b"2" * 20, True), (b"0" * 299, False),
        (b"0" * 300, True),
    ],
)  # fmt: skip
def test_long_runs_of_digits_are_those_that_may_not_fit_64_bits(digits: bytes, is_one: bool) -> None:
    body = b"[" + digits + b"]"
    assert _has_digit_run(body) == is_one == (_DIGIT_RUN.search(body) is not None)
