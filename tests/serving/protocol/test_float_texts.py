"""Floats as the model server prints them, one by one and many at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol import float_texts
from serving.protocol.float_texts import decimal_texts
from serving.protocol.tensors import Array

RANDOM = np.random.default_rng(0)
POWERS = np.array([10.0**power for power in range(-37, 38)], np.float32)
COUNT = 20_000


@given(st.lists(st.floats(width=32), min_size=1))
def test_float_texts_read_back_as_the_same_floats(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    texts = decimal_texts(array)
    assert np.array_equal(np.array(texts, np.float64).astype(np.float32), array, equal_nan=True)
    assert not any(text.strip("-").isdecimal() for text in texts), "a float is never printed like an integer"


@given(st.lists(st.floats(), min_size=1))
def test_double_texts_read_back_as_the_same_doubles(numbers: list[float]) -> None:
    array = np.array(numbers)
    assert np.array_equal(np.array(decimal_texts(array), np.float64), array, equal_nan=True)


@pytest.mark.parametrize(
    "array",
    [
        RANDOM.normal(size=COUNT).astype(np.float32),
        RANDOM.integers(0, 2**32, COUNT, dtype=np.uint32).view(np.float32),
        (RANDOM.integers(-(10**6), 10**6, COUNT) / 10.0 ** RANDOM.integers(-6, 12, COUNT)).astype(np.float32),
        (RANDOM.integers(-(10**7), 10**7, COUNT) * 10.0 ** RANDOM.integers(-6, 12, COUNT)).astype(np.float32),
        RANDOM.integers(-300, 300, COUNT).astype(np.float32) / 64,
        np.exp(-80 * RANDOM.random(COUNT)).astype(np.float32),
        np.zeros(COUNT, np.float32),
        RANDOM.normal(size=COUNT),
        RANDOM.integers(-(10**6), 10**6, COUNT) / 1000,
        RANDOM.integers(0, 2**64, COUNT, dtype=np.uint64).view(np.float64),
    ],
    ids=["normal", "bits", "six digits", "large", "dyadic", "scores", "zeros", "doubles", "short doubles", "double bits"],
)
def test_many_floats_are_printed_as_single_ones(array: Array) -> None:
    assert decimal_texts(array) == float_texts._one_by_one(array)


def test_neighbours_of_powers_of_ten_are_printed_as_single_ones() -> None:
    around = [np.nextafter(POWERS, np.float32(0)), POWERS, np.nextafter(POWERS, np.float32(np.inf)), -POWERS]
    special = np.array([0, -0.0, np.nan, np.inf, -np.inf, 999999, 1e6, 999999.5, 1e9, 999999999], np.float32)
    array = np.concatenate([*around, *(POWERS * np.float32(factor) for factor in (5, 9.99999, 9.9999995)), special] * 2)
    assert array.size > float_texts._LEAST
    assert decimal_texts(array) == float_texts._one_by_one(array)


def test_texts_have_the_servers_form() -> None:
    numbers = np.array([0, 1, -2.5, 0.1, 1e6, 123456789, 1e-5, 1 / 3, np.nan, np.inf, -np.inf], np.float32)
    texts = ["0.0", "1.0", "-2.5", "0.1", "1e+06", "123456792.0", "1e-05", "0.333333343", "NaN", "Infinity", "-Infinity"]
    assert decimal_texts(numbers) == texts
    assert decimal_texts(np.tile(numbers, 100)) == texts * 100
