"""The rule by which answers are compared."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from serving.golden.compare import compare
from serving.protocol.tensors import BFloat16Bits
from tests.serving.memory import assert_allocates_less_than

NAN, INF = np.nan, np.inf


def test_the_error_is_relative_to_the_element_or_to_the_scale_of_the_tensor() -> None:
    large = compare("y", np.array([100.0, 1.0]), np.array([101.0, 1.0]))
    assert (large.max_abs, large.max_rel, large.index) == (1.0, 0.01, (0,))
    near_zero = compare("y", np.array([3.0, 0.0]), np.array([3.0, 0.3]))
    assert near_zero.max_rel == pytest.approx(0.3 / np.sqrt(4.5))
    assert near_zero.index == (1,)


def test_equal_tensors_have_no_error() -> None:
    for array in (np.zeros((0, 3)), np.array([NAN, INF, -INF]), np.array([1, 2]), np.array(["a"]), np.array([1 + 2j])):
        assert compare("y", array, array).within(0.0)


@pytest.mark.parametrize(
    ("want", "got", "problem"),
    [
        (np.zeros(2, np.float32), np.zeros(2), "expected dtype float32, got float64"),
        (np.zeros((2, 1)), np.zeros(2), "expected shape [2, 1], got [2]"),
        (np.array([NAN, 1.0]), np.array([1.0, NAN]), "NaN or infinity are at other positions than expected"),
        (np.array([INF]), np.array([-INF]), "NaN or infinity are at other positions than expected"),
    ],
)
def test_incomparable_tensors_have_a_problem(want: np.ndarray, got: np.ndarray, problem: str) -> None:
    difference = compare("y", want, got)
    assert difference.explain() == f"output 'y': {problem}"
    assert not difference.within(1e9)
    assert json.loads(json.dumps(difference.to_json(), allow_nan=False)) == {"output": "y", "problem": problem}


def test_integers_booleans_and_strings_must_be_equal() -> None:
    integers = compare("y", np.array([1, 5]), np.array([1, 8]))
    assert (integers.max_abs, integers.max_rel) == (3.0, INF)
    assert integers.explain() == "output 'y' at [1]: expected 5, got 8 (relative error inf)"
    assert not compare("y", np.array([True]), np.array([False])).within(1.0)
    strings = compare("y", np.array(["ä", "b"]), np.array(["ä".encode(), b"c"], np.object_))
    assert (strings.index, strings.want, strings.got) == ((1,), "b", "c")


def test_one_long_text_among_many_takes_no_room_for_all() -> None:
    texts = np.array([b"a" * 1_000_000, *([b"b"] * 1000)], np.object_)
    with assert_allocates_less_than(10_000_000):
        assert compare("y", texts, texts.copy()).within(0)
        other = texts.copy()
        other[7] = b"c"
        assert compare("y", texts, other).explain() == "output 'y' at [7]: expected b, got c (relative error inf)"


def test_infinities_at_the_same_positions_beside_numbers_are_equal() -> None:
    want = np.array([INF, -INF, NAN, 1.0])
    assert compare("y", want, want.copy()).within(0.0)
    assert compare("y", want, np.array([INF, -INF, NAN, 1.5])).max_abs == 0.5


def test_bfloat16_is_compared_by_value_in_both_of_its_forms() -> None:
    bits = np.array([0x3F80, 0x4000], np.uint16)  # 1.0 and 2.0
    plain, typed = bits.view(BFloat16Bits), bits.view(ml_dtypes.bfloat16)
    other = np.array([0x3F80, 0x4001], np.uint16).view(BFloat16Bits)
    assert compare("y", plain, typed).within(0.0)
    assert compare("y", plain, other).max_abs == 2.0**-6
    assert compare("y", plain, np.float32([1, 2])).problem == "expected dtype bfloat16, got float32"
