from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from serving.server.batching.parameters import QueueOptions
from serving.server.batching.queue import Batch, Queue, Task
from serving.server.batching.scheduler import Scheduler

OPTIONS = QueueOptions(input_limit=1, execution_limit=1)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    running = Scheduler(1)
    yield running
    running.stop()


def submit(scheduler: Scheduler, queue: Queue) -> Task:
    (task,) = scheduler.submit(queue, lambda room: [Task({}, 1)])
    return task


def test_queues_are_served_in_turn(scheduler: Scheduler) -> None:
    order: list[str] = []
    gate = threading.Event()

    def add_queue(name: str) -> Queue:
        def process(batch: Batch) -> None:
            gate.wait(20)
            order.append(name)
            batch.tasks[0].answer([])

        return scheduler.add_queue(OPTIONS, process)

    first, second = add_queue("first"), add_queue("second")
    tasks = [submit(scheduler, queue) for queue in (first, first, first, second)]
    gate.set()
    for task in tasks:
        task.wait()
    assert order == ["first", "second", "first", "first"]


def test_exception_in_a_batch_is_raised_in_its_requests_and_spares_the_thread(scheduler: Scheduler) -> None:
    def fail(batch: Batch) -> None:
        raise KeyError("bug")

    broken = scheduler.add_queue(OPTIONS, fail)
    working = scheduler.add_queue(OPTIONS, lambda batch: batch.tasks[0].answer([]))
    with pytest.raises(KeyError, match="bug"):
        submit(scheduler, broken).wait()
    assert submit(scheduler, working).wait() == []


def test_removed_queue_is_not_served(scheduler: Scheduler) -> None:
    queue = scheduler.add_queue(OPTIONS, lambda batch: batch.tasks[0].answer([]))
    scheduler.remove_queue(queue)
    assert not scheduler._queues
