"""Tasks and batches of one kind of request, and when a batch is ready to run (TensorFlow's shared_batch_scheduler.h).

A queue is a row of batches: the last one is open and takes tasks, the others are closed and ready. The open one is ready
when it is full, or when its first task has waited for as long as it may. Nothing here locks: the scheduler does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import Array
from serving.server.batching.parameters import QueueOptions


class Task:
    """One request in a queue, or a part of one: its arrays, and the place of its answer.

    Attributes:
        feeds: tensor name -> array, all with `rows` rows.
        enqueued: when it was made, in seconds of the monotonic clock.
    """

    __slots__ = ("_done", "_error", "_results", "enqueued", "feeds", "rows")

    def __init__(self, feeds: Mapping[str, Array], rows: int) -> None:
        self.feeds = feeds
        self.rows = rows
        self.enqueued = time.monotonic()
        self._done = threading.Event()
        self._results: list[Array] = []
        self._error: BaseException | None = None

    def answer(self, results: list[Array]) -> None:
        self._results = results
        self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> list[Array]:
        """The results, once they are there.

        Raises:
            StatusError: the batch that it was in failed, by its own fault or another's.
        """
        self._done.wait()
        if isinstance(self._error, StatusError):
            # One of its own: several threads raise the error of a batch.
            raise StatusError(self._error.code, self._error.message) from self._error
        if self._error is not None:
            raise self._error
        return self._results


@dataclass
class Batch:
    """Tasks that run as one."""

    tasks: list[Task] = field(default_factory=list)
    rows: int = 0

    def add(self, task: Task) -> None:
        self.tasks.append(task)
        self.rows += task.rows


Process = Callable[[Batch], None]
"""Runs a batch and answers each of its tasks."""


class Queue:
    """Batches that wait for a thread."""

    def __init__(self, options: QueueOptions, process: Process) -> None:
        self.options = options
        self.process = process
        self._batches: deque[Batch] = deque([Batch()])

    def add(self, tasks: list[Task]) -> None:
        """Take in a request: one task, or the parts of one that is split.

        Raises:
            StatusError: INVALID_ARGUMENT: it has more rows than a request may; UNAVAILABLE: the queue is full.
        """
        self._check_room(sum(task.rows for task in tasks))
        for task in tasks:
            if self._open.rows + task.rows > self.options.execution_limit:
                self._batches.append(Batch())
            self._open.add(task)

    @property
    def room(self) -> int:
        """Rows that the open batch still takes."""
        return self.options.execution_limit - self._open.rows

    def take(self, now: float) -> Batch | None:
        """The oldest batch that is ready at `now`, no longer in the queue."""
        if len(self._batches) == 1:
            if not self._open.tasks or now < self.due:
                return None
            self._batches.append(Batch())
        return self._batches.popleft()

    @property
    def due(self) -> float:
        """When the queue has a batch that is ready, if no further task comes; infinity if it is empty."""
        if len(self._batches) > 1:
            return 0.0
        if not self._open.tasks:
            return float("inf")
        if self._open.rows >= self.options.execution_limit:
            return 0.0
        return self._open.tasks[0].enqueued + self.options.timeout_seconds

    @property
    def _open(self) -> Batch:
        return self._batches[-1]

    def _check_room(self, rows: int) -> None:
        limit = self.options.input_limit
        if rows > limit:
            raise invalid_argument(f"Task size {rows} is larger than maximum input batch size {limit}")
        enqueued, most = len(self._batches), self.options.max_enqueued
        if self.options.splits:
            capacity = (most - enqueued) * self.options.execution_limit + self.room
            if rows > capacity:
                raise _full(
                    f"task size is {rows} but scheduling capacity is only {capacity} (num_enqueued_batches={enqueued}, "
                    f"max_enqueued_batches={most}, open_batch_size={self._open.rows}, "
                    f"max_execution_batch_size={self.options.execution_limit})"
                )
        elif self._open.rows + rows > limit and enqueued >= most:
            raise _full(f"currently {enqueued} batches enqueued and max_enqueued_batches is {most}")


def _full(how: str) -> StatusError:
    return StatusError(Code.UNAVAILABLE, f"The batch scheduling queue to which this task was submitted is full; {how}")
