from __future__ import annotations

import numpy as np
import pytest

from serving.protocol.status import StatusError
from serving.server.batching.arrays import count_rows, merge, split
from serving.server.batching.queue import Batch, Task


def batch(*arrays: list[list[float]]) -> Batch:
    tasks = Batch()
    for rows in arrays:
        tasks.add(Task({"x": np.array(rows, np.float32)}, len(rows)))
    return tasks


def test_rows_are_the_size_of_the_first_dim() -> None:
    assert count_rows({"x": np.zeros((3, 2)), "y": np.zeros(3)}) == 3


def test_merged_arrays_are_padded_with_the_first_row_of_the_last_task() -> None:
    merged = merge(batch([[1]], [[2], [3]]), 5, pads_lengths=False)
    assert merged["x"].tolist() == [[1], [2], [3], [2], [2]]


def test_different_lengths_are_padded_with_each_arrays_first_value() -> None:
    merged = merge(batch([[1]], [[2, 3, 4]]), 2, pads_lengths=True)
    assert merged["x"].tolist() == [[1, 1, 1], [2, 3, 4]]


def test_arrays_above_rank_6_cannot_be_padded() -> None:
    tasks = Batch()
    for size in (1, 2):
        tasks.add(Task({"x": np.zeros((1,) * 6 + (size,))}, 1))
    with pytest.raises(StatusError, match="Only tensors with rank from 1 to 6 can be padded"):
        merge(tasks, 2, pads_lengths=True)


def test_split_returns_each_tasks_rows_without_the_padding() -> None:
    parts = split(batch([[1]], [[2], [3]]), 4, [np.arange(4), np.arange(8).reshape(4, 2)])
    assert [[part.tolist() for part in outputs] for outputs in parts] == [[[0], [[0, 1]]], [[1, 2], [[2, 3], [4, 5]]]]
