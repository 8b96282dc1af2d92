from __future__ import annotations

import numpy as np
import pytest

from bundler.validation.precision_worker import _with_rows


@pytest.mark.parametrize(("rows", "want"), [(1, [0]), (3, [0, 1, 0])])
def test_rows_are_repeated_along_the_batch_axis(rows: int, want: list[int]) -> None:
    call = {"x": np.array([[0, 1]]), "other": np.zeros(4)}
    got = _with_rows(call, {"x": 1}, rows)
    assert got is not None
    assert got["x"].tolist() == [want] and got["other"].shape == (4,)


def test_a_model_without_a_batch_axis_is_timed_once() -> None:
    call = {"x": np.zeros(4)}
    assert _with_rows(call, {}, 1) == call
    assert _with_rows(call, {}, 8) is None
