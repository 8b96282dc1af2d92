"""Which rows of two versions' answers count as alike."""

from __future__ import annotations

import numpy as np
import pytest

from bundler.validation.agreement import Tally, row_agreement


def test_rows_with_the_same_class_are_alike_whatever_their_values() -> None:
    want = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)
    got = np.array([[0.4, 0.6], [0.4, 0.6]], np.float32)
    shares = row_agreement(want, got, 0.05)
    assert shares.dtype == np.float64 and shares.tolist() == [1.0, 0.0]


def test_rows_within_the_tolerance_are_alike_although_their_largest_entry_moves() -> None:
    want, got = np.array([[1.0, 1.01]], np.float32), np.array([[1.01, 1.0]], np.float32)
    assert row_agreement(want, got, 0.05).tolist() == [1.0]
    assert row_agreement(want, got, 0.001).tolist() == [0.0]


def test_a_segmentation_counts_by_its_places() -> None:
    want = np.zeros((1, 2, 2, 3), np.float32)
    want[..., 0] = 1
    got = want.copy()
    got[0, 0, 0] = [0, 5, 0]
    assert row_agreement(want, got, 0.05).tolist() == [0.75]


@pytest.mark.parametrize(
    ("want", "got", "shares"),
    [
        (np.array([1, 2]), np.array([1, 3]), [1.0, 0.0]),
        (np.array([b"a", b"b"], object), np.array([b"a", b"c"], object), [1.0, 0.0]),
        (np.float32(1.0), np.float32(1.01), [1.0]),
        (np.array([1.0, 2.0], np.float32), np.array([1.2, 2.0], np.float32), [0.0, 1.0]),
        (np.array([[1.0, 2.0]]), np.array([[np.nan, 2.0]]), [0.0]),
        (np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), [0.0, 0.0]),
        (np.zeros(2, np.float32), np.zeros(2, np.int32), [0.0, 0.0]),
    ],
)
def test_other_rows(want: object, got: object, shares: list[float]) -> None:
    assert row_agreement(np.asarray(want), np.asarray(got), 0.05).tolist() == shares


def test_tally_counts_rows_of_all_calls_and_missing_outputs() -> None:
    tally = Tally(0.05)
    tally.add({"y": np.array([1, 2]), "z": np.array([1])}, {"y": np.array([1, 2])})
    tally.add({"y": np.array([3, 4])}, {"y": np.array([3, 5])}, prefix="embed/")
    tally.add({"y": np.array([], np.int64)}, {"y": np.array([], np.int64)}, prefix="empty/")
    assert tally.shares == {"y": 1.0, "z": 0.0, "embed/y": 0.5} and tally.most_rows == 2
