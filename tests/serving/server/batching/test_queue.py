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


def test_batch_is_ready_when_full_or_when_its_first_task_has_waited() -> None:
    waiting = queue()
    assert waiting.due == float("inf")
    first = Task({}, 1)
    waiting.add([first])
    waiting.add([Task({}, 2)])
    assert waiting.due == first.enqueued + 5
    assert waiting.take(first.enqueued + 4.9) is None
    assert rows(waiting.take(first.enqueued + 5)) == [1, 2]
    waiting.add([Task({}, 4)])
    assert waiting.due == 0
    assert rows(waiting.take(0)) == [4]
    assert waiting.take(1e12) is None


def test_task_that_does_not_fit_closes_the_open_batch() -> None:
    waiting = queue()
    for size in (3, 2, 1):
        waiting.add([Task({}, size)])
    assert rows(waiting.take(0)) == [3]
    assert waiting.take(0) is None
    assert rows(waiting.take(1e12)) == [2, 1]


def test_full_queue_and_oversized_request_are_refused() -> None:
    waiting = queue(max_enqueued=2)
    for size in (4, 4):
        waiting.add([Task({}, size)])
    with pytest.raises(
        StatusError, match=r"is full; currently 2 batches enqueued and max_enqueued_batches is 2$"
    ) as full:
        waiting.add([Task({}, 1)])
    assert full.value.code is Code.UNAVAILABLE
    with pytest.raises(StatusError, match="Task size 5 is larger than maximum input batch size 4") as large:
        waiting.add([Task({}, 5)])
    assert large.value.code is Code.INVALID_ARGUMENT


def test_queue_limited_to_no_rows_refuses_and_is_never_due() -> None:
    waiting = queue(execution_limit=0, splits=True)
    assert waiting.due == float("inf")
    with pytest.raises(StatusError, match=r"task size is 1 but scheduling capacity is only 0 \(num_enqueued_batches=1") as full:
        waiting.add([Task({}, 1)])
    assert full.value.code is Code.UNAVAILABLE


def test_queue_that_splits_refuses_by_rows() -> None:
    waiting = queue(max_enqueued=2, splits=True, input_limit=100)
    waiting.add([Task({}, 4), Task({}, 3)])
    assert waiting.room == 1
    with pytest.raises(StatusError, match=r"task size is 2 but scheduling capacity is only 1 \(num_enqueued_batches=2"):
        waiting.add([Task({}, 2)])
    waiting.add([Task({}, 1)])
