"""A servable whose requests are batched: the BatchingSession of batching/batching_session.cc.

Requests that feed the same tensors and fetch the same tensors share a queue. A request that fails makes its whole batch fail.
A request without rows runs at once and alone; in the real server it waits until another request joins it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

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
from serving.server.config.options import ServerOptions
from serving.server.observability.tracing import batch as traced_batch
from serving.server.observability.tracing import mark
from serving.server.servables.protocol import Servable

Kind = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]
"""The fed tensors with their dtypes, and the fetched tensors."""

log = logging.getLogger(__name__)


class Batching:
    """Batching of a whole server: its parameters and the threads that all models share.

    Raises:
        StatusError: the parameters file does not exist, does not parse, or sets less than one thread.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.metrics = BatchingMetrics()
        self._options = options
        self._common = common_parameters(options)
        name = self._common.thread_pool_name.value or "model_server_batch_threads"
        self._scheduler = Scheduler(batch_threads(self._common), name)

    def wrap(self, servable: Servable) -> Servable:
        """Return the servable with batching, or as it is if its version is not batched.

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
        """End the threads. All servables must be closed."""
        self._scheduler.stop()


class BatchedServable:
    """A `Servable` that runs another one behind queues."""

    def __init__(
        self, wrapped: Servable, scheduler: Scheduler, options: QueueOptions, metrics: BatchingMetrics
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
        """Run the graph together with other requests, as `Runnable.run` describes; all feeds have the same first dim.

        Raises:
            StatusError: INVALID_ARGUMENT: the arrays cannot be batched, or have too many rows; UNAVAILABLE: the queue is
                full; else the error of the batch.
        """
        rows = count_rows(feeds)
        mark("")  # the batch records how long it waits and runs
        self._metrics.request(rows, len(feeds))
        names = tuple(sorted(set(fetches)))
        if rows:
            queue = self._queue(feeds, names)
            tasks = self._scheduler.submit(queue, lambda room: self._split(feeds, rows, room))
        else:
            tasks = [Task(feeds, 0)]
            self._process(Batch(list(tasks)), names)
        parts = [task.wait() for task in tasks]
        results = parts[0] if len(parts) == 1 else [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        by_name = dict(zip(names, results, strict=True))
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """Free the wrapped servable. No request may be running."""
        for queue in self._queues.values():
            self._scheduler.remove_queue(queue)
        self._queues.clear()
        self._wrapped.close()

    def _queue(self, feeds: Mapping[str, Array], names: tuple[str, ...]) -> Queue:
        # Dtypes are part of the kind, so that an array of a wrong dtype fails alone, with the same text as without batching.
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
        """Return one task, or several for a request that does not fit into the open batch."""
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
        with traced_batch(batch.tasks, batch.rows, rows):
            mark("merge")
            merged = merge(batch, rows, pads_lengths=self._options.pads_lengths)
            results = self._wrapped.run(merged, names)
            mark("split")
            parts = split(batch, rows, results)
        for task, part in zip(batch.tasks, parts, strict=True):
            task.answer(part)
