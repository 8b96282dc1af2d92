"""When a batch is ready, and when a queue is full."""

from __future__ import annotations

import pytest

from serving.protocol.status import Code, StatusError
from serving.server.batching.parameters import QueueOptions
from serving.server.batching.queue import Batch, Queue, Task


def queue(**options: object) -> Queue:
    return Queue(QueueOptions(**{"input_limit": 4, "execution_limit": 4, "timeout_seconds": 5.0, **options}), print)  # type: ignore[arg-type]


def rows(batch: Batch | None) -> list[int]:
    return [] if batch is None else [task.rows for task in batch.tasks]


def test_a_batch_is_ready_when_full_or_when_its_first_task_has_waited() -> None:
    made = queue()
    assert made.due == float("inf")
    first = Task({}, 1)
    made.add([first])
    made.add([Task({}, 2)])
    assert made.due == first.enqueued + 5
    assert made.take(first.enqueued + 4.9) is None
    assert rows(made.take(first.enqueued + 5)) == [1, 2]
    made.add([Task({}, 4)])
    assert made.due == 0
    assert rows(made.take(0)) == [4]
    assert made.take(1e12) is None


def test_a_task_that_does_not_fit_closes_the_open_batch() -> None:
    made = queue()
    for size in (3, 2, 1):
        made.add([Task({}, size)])
    assert rows(made.take(0)) == [3]
    assert made.take(0) is None
    assert rows(made.take(1e12)) == [2, 1]


def test_a_full_queue_and_a_large_request_are_refused() -> None:
    made = queue(max_enqueued=2)
    for size in (4, 4):
        made.add([Task({}, size)])
    with pytest.raises(
        StatusError, match=r"is full; currently 2 batches enqueued and max_enqueued_batches is 2$"
    ) as full:
        made.add([Task({}, 1)])
    assert full.value.code is Code.UNAVAILABLE
    with pytest.raises(StatusError, match="Task size 5 is larger than maximum input batch size 4") as large:
        made.add([Task({}, 5)])
    assert large.value.code is Code.INVALID_ARGUMENT


def test_a_queue_whose_batches_have_no_row_refuses_and_is_never_due() -> None:
    made = queue(execution_limit=0, splits=True)
    assert made.due == float("inf")
    with pytest.raises(StatusError, match=r"task size is 1 but scheduling capacity is only 0 \(num_enqueued_batches=1") as full:
        made.add([Task({}, 1)])
    assert full.value.code is Code.UNAVAILABLE


def test_a_queue_that_splits_refuses_by_rows() -> None:
    made = queue(max_enqueued=2, splits=True, input_limit=100)
    made.add([Task({}, 4), Task({}, 3)])
    assert made.room == 1
    with pytest.raises(StatusError, match=r"task size is 2 but scheduling capacity is only 1 \(num_enqueued_batches=2"):
        made.add([Task({}, 2)])
    made.add([Task({}, 1)])
