"""A servable whose requests are batched, and what makes them: the BatchingSession of batching/batching_session.cc.

Requests that feed the same tensors and want the same ones share a queue; a request that fails fails its whole batch.
A request of no rows, for which the real server waits until another joins it, is answered by itself at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from serving.protocol.tensors import Array, array_dtype_name
from serving.server.batching.arrays import count_rows, merge, split
from serving.server.batching.metrics import BatchingMetrics
from serving.server.batching.parameters import (
    QueueOptions,
    batch_threads,
    common_parameters,
    model_parameters,
    queue_options,
)
from serving.server.batching.queue import Batch, Queue, Task
from serving.server.batching.scheduler import Scheduler
from serving.server.options import ServerOptions

Kind = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]

log = logging.getLogger(__name__)


class AnyServable(Protocol):
    """What can be batched."""

    path: str
    signatures: dict[str, Any]

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]: ...

    def close(self) -> None: ...


class Batching:
    """Batching of a whole server: its parameters and the threads that all models share.

    Raises:
        StatusError: the parameters file is not there, does not parse, or asks for no thread.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.metrics = BatchingMetrics()
        self._options = options
        self._common = common_parameters(options)
        name = self._common.thread_pool_name.value or "model_server_batch_threads"
        self._scheduler = Scheduler(batch_threads(self._common), name)

    def wrap(self, servable: AnyServable) -> AnyServable:
        """The servable with batching; the same one if its version has no parameters and needs its own.

        Raises:
            StatusError: the parameters contradict each other.
        """
        parameters = model_parameters(self._options, self._common, servable.path)
        if parameters is None:
            return servable
        log.info("Wrapping session to perform batch processing: %s", servable.path)
        options = queue_options(parameters)
        if not options.execution_limit:
            log.warning("%s: max_execution_batch_size is 0, so every request will be refused.", servable.path)
        return BatchedServable(servable, self._scheduler, options, self.metrics)

    def stop(self) -> None:
        """End the threads, after all servables are closed."""
        self._scheduler.stop()


class BatchedServable:
    """A servable behind queues; the same methods as what it wraps."""

    def __init__(
        self, wrapped: AnyServable, scheduler: Scheduler, options: QueueOptions, metrics: BatchingMetrics
    ) -> None:
        self.path = wrapped.path
        self.signatures = wrapped.signatures
        self._wrapped = wrapped
        self._scheduler = scheduler
        self._options = options
        self._metrics = metrics
        self._queues: dict[Kind, Queue] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run the graph, together with other requests.

        Args:
            feeds: tensor name -> array, all with the same first dim.
            fetches: tensor names; a name may stand twice.

        Raises:
            StatusError: INVALID_ARGUMENT: the arrays cannot be batched, or have too many rows; UNAVAILABLE: the queue is
                full; else what the batch failed with.
        """
        rows = count_rows(feeds)
        self._metrics.request(rows, len(feeds))
        names = tuple(sorted(set(fetches)))
        if rows:
            queue = self._queue(feeds, names)
            tasks = self._scheduler.submit(queue, lambda room: self._split(feeds, rows, room))
        else:
            tasks = [Task(feeds, 0)]
            self._process(Batch(list(tasks)), names)
        parts = [task.wait() for task in tasks]
        results = parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]
        by_name = dict(zip(names, results, strict=True))
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """Free what it wraps. Nothing may be running."""
        for queue in self._queues.values():
            self._scheduler.remove_queue(queue)
        self._queues.clear()
        self._wrapped.close()

    def _queue(self, feeds: Mapping[str, Array], names: tuple[str, ...]) -> Queue:
        # With the dtypes: an array of a wrong one is refused by itself, in the words it would be without batching.
        kind = (tuple((name, array_dtype_name(feeds[name])) for name in sorted(feeds)), names)
        queue = self._queues.get(kind)
        if queue is None:
            with self._lock:
                queue = self._queues.get(kind)
                if queue is None:
                    queue = self._scheduler.add_queue(self._options, lambda batch: self._process(batch, names))
                    self._queues[kind] = queue
        return queue

    def _split(self, feeds: Mapping[str, Array], rows: int, room: int) -> list[Task]:
        """One task, or as many as a request larger than the open batch is split into."""
        limit = self._options.execution_limit
        if rows <= room or not self._options.splits or not limit:
            return [Task(feeds, rows)]
        starts = [0, *range(room or limit, rows, limit), rows]
        return [
            Task({name: array[start:end] for name, array in feeds.items()}, end - start)
            for start, end in pairwise(starts)
        ]

    def _process(self, batch: Batch, names: tuple[str, ...]) -> None:
        now = time.monotonic()
        rows = self._options.padded(batch.rows) if batch.rows else 0
        self._metrics.batch([now - task.enqueued for task in batch.tasks], batch.rows, rows)
        merged = merge(batch, rows, pads_lengths=self._options.pads_lengths)
        parts = split(batch, rows, self._wrapped.run(merged, names))
        for task, part in zip(batch.tasks, parts, strict=True):
            task.answer(part)
