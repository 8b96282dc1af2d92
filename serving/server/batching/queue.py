"""Tasks and batches of one kind of request, and when a batch is ready to run (TensorFlow's shared_batch_scheduler.h).

A queue is a list of batches. The last batch is open and takes tasks; the others are closed and ready. The open batch is ready
when it is full, or when its first task has waited for the timeout. This module does not lock; the scheduler does.
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
from serving.server.observability.tracing import current


class Task:
    """A request in a queue, or a part of a split request: its arrays and its results.

    Attributes:
        feeds: tensor name -> array, all with `rows` rows.
        rows: rows of each array.
        enqueued: when the task was created, in seconds of the monotonic clock.
        trace: the request's trace, or None.
    """

    __slots__ = ("_done", "_error", "_results", "enqueued", "feeds", "rows", "trace")

    def __init__(self, feeds: Mapping[str, Array], rows: int) -> None:
        self.feeds = feeds
        self.rows = rows
        self.enqueued = time.monotonic()
        self.trace = current()
        self._done = threading.Event()
        self._results: list[Array] = []
        self._error: BaseException | None = None

    def answer(self, results: list[Array]) -> None:
        """Set the results and wake up the waiting request."""
        self._results = results
        self._done.set()

    def fail(self, error: BaseException) -> None:
        """Set the error and wake up the waiting request."""
        self._error = error
        self._done.set()

    def wait(self) -> list[Array]:
        """Wait for the results and return them.

        Raises:
            StatusError: the task's batch failed, because of this task or another one.
        """
        self._done.wait()
        if isinstance(self._error, StatusError):
            # A new exception, as several threads raise the error of a batch.
            raise StatusError(self._error.code, self._error.message) from self._error
        if self._error is not None:
            raise self._error
        return self._results


@dataclass
class Batch:
    """Tasks that run together."""

    tasks: list[Task] = field(default_factory=list)
    rows: int = 0

    def add(self, task: Task) -> None:
        """Append a task."""
        self.tasks.append(task)
        self.rows += task.rows


Process = Callable[[Batch], None]
"""Runs a batch and answers each of its tasks."""


class Queue:
    """Batches that wait for a thread.

    Args:
        options: limits and timeout.
        process: runs a batch of this queue.
    """

    def __init__(self, options: QueueOptions, process: Process) -> None:
        self.options = options
        self.process = process
        self._batches: deque[Batch] = deque([Batch()])

    def add(self, tasks: list[Task]) -> None:
        """Add a request: one task, or the parts of a split request.

        Raises:
            StatusError: INVALID_ARGUMENT: the request has too many rows; UNAVAILABLE: the queue is full.
        """
        self._check_room(sum(task.rows for task in tasks))
        for task in tasks:
            if self._open.rows + task.rows > self.options.execution_limit:
                self._batches.append(Batch())
            self._open.add(task)

    @property
    def room(self) -> int:
        """Rows that still fit into the open batch."""
        return self.options.execution_limit - self._open.rows

    def take(self, now: float) -> Batch | None:
        """Remove and return the oldest batch that is ready at time `now`; None if there is none."""
        if len(self._batches) == 1:
            if not self._open.tasks or now < self.due:
                return None
            self._batches.append(Batch())
        return self._batches.popleft()

    @property
    def due(self) -> float:
        """Time at which a batch is ready if no further task comes; infinity if the queue is empty."""
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


def _full(detail: str) -> StatusError:
    return StatusError(Code.UNAVAILABLE, f"The batch scheduling queue to which this task was submitted is full; {detail}")
