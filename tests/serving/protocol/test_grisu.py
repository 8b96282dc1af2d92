"""Digits of doubles by Grisu2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.grisu import shortest_digits


@given(st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False))
def test_the_digits_read_back_as_the_same_double(value: float) -> None:
    digits, power = shortest_digits(value)
    assert digits.isdecimal() and not digits.startswith("0")
    assert float(f"{digits}e{power}") == value


@pytest.mark.parametrize(
    ("value", "digits", "power"), [(1.0, "1", 0), (0.1, "1", -1), (123.5, "1235", -1), (5e-324, "5", -324)]
)
def test_simple_numbers_have_few_digits(value: float, digits: str, power: int) -> None:
    assert shortest_digits(value) == (digits, power)
