"""The threads that run batches: a fixed number for all queues, which they serve in turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from serving.server.batching.parameters import QueueOptions
from serving.server.batching.queue import Batch, Process, Queue, Task


class Scheduler:
    """Runs the batches of its queues.

    Args:
        threads: batches that run at once.
        name: of the threads.
    """

    def __init__(self, threads: int, name: str = "batch_threads") -> None:
        self._changed = threading.Condition()
        self._queues: list[Queue] = []
        self._turn = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}_{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def add_queue(self, options: QueueOptions, process: Process) -> Queue:
        queue = Queue(options, process)
        with self._changed:
            self._queues.append(queue)
        return queue

    def remove_queue(self, queue: Queue) -> None:
        """Forget a queue that is empty and stays so."""
        with self._changed:
            self._queues.remove(queue)

    def submit(self, queue: Queue, split: Callable[[int], list[Task]]) -> list[Task]:
        """Put a request into a queue.

        Args:
            split: makes its tasks, given the rows that the open batch still takes.

        Raises:
            StatusError: INVALID_ARGUMENT: too many rows; UNAVAILABLE: the queue is full.
        """
        with self._changed:
            before = queue.due
            tasks = split(queue.room)
            queue.add(tasks)
            # A thread has to know only of what is to happen sooner than it thinks.
            if queue.due < before:
                self._changed.notify()
        return tasks

    def stop(self) -> None:
        """End the threads. Nothing may be in a queue."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                found = self._next()
                while found is None and not self._stopping:
                    self._changed.wait(self._pause())
                    found = self._next()
                if found is None:
                    return
                if self._has_ready():
                    self._changed.notify()
            queue, batch = found
            _process(queue, batch)

    def _next(self) -> tuple[Queue, Batch] | None:
        """A ready batch of the queue whose turn it is, or of the next that has one."""
        now = time.monotonic()
        for offset in range(len(self._queues)):
            index = (self._turn + offset) % len(self._queues)
            batch = self._queues[index].take(now)
            if batch is not None:
                self._turn = index + 1
                return self._queues[index], batch
        return None

    def _has_ready(self) -> bool:
        now = time.monotonic()
        return any(queue.due <= now for queue in self._queues)

    def _pause(self) -> float | None:
        """Seconds until a batch is ready if no task comes; None: there is no task."""
        due = min((queue.due for queue in self._queues), default=float("inf"))
        return None if due == float("inf") else max(due - time.monotonic(), 0.0)


def _process(queue: Queue, batch: Batch) -> None:
    try:
        queue.process(batch)
    except BaseException as exc:  # noqa: BLE001 - raised again in the thread of each request
        for task in batch.tasks:
            task.fail(exc)
