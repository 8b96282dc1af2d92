"""The threads that run batches: a fixed number for all queues, which are served in turn."""

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
        name: name of the threads.
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
        """Create a queue and serve it."""
        queue = Queue(options, process)
        with self._changed:
            self._queues.append(queue)
        return queue

    def remove_queue(self, queue: Queue) -> None:
        """Stop serving a queue, which must be empty and stay empty."""
        with self._changed:
            self._queues.remove(queue)

    def submit(self, queue: Queue, split: Callable[[int], list[Task]]) -> list[Task]:
        """Put a request into a queue.

        Args:
            queue: a queue of this scheduler.
            split: creates the request's tasks, given the rows that still fit into the open batch.

        Returns:
            The tasks.

        Raises:
            StatusError: INVALID_ARGUMENT: too many rows; UNAVAILABLE: the queue is full.
        """
        with self._changed:
            before = queue.due
            tasks = split(queue.room)
            queue.add(tasks)
            # Threads sleep until the next batch is due; wake one up only if this batch is due earlier.
            if queue.due < before:
                self._changed.notify()
        return tasks

    def stop(self) -> None:
        """End the threads. The queues must be empty."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                ready = self._take_ready()
                while ready is None and not self._stopping:
                    self._changed.wait(self._pause())
                    ready = self._take_ready()
                if ready is None:
                    return
                if self._has_ready():
                    self._changed.notify()
            queue, batch = ready
            _process(queue, batch)

    def _take_ready(self) -> tuple[Queue, Batch] | None:
        """Take a ready batch from the queue whose turn it is, or from the next queue that has one."""
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
        """Return the seconds until a batch is ready if no task comes; None if there is no task."""
        due = min((queue.due for queue in self._queues), default=float("inf"))
        return None if due == float("inf") else max(due - time.monotonic(), 0.0)


def _process(queue: Queue, batch: Batch) -> None:
    try:
        queue.process(batch)
    except BaseException as exc:  # noqa: BLE001 - raised again in the thread of each request
        for task in batch.tasks:
            task.fail(exc)
