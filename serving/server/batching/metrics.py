"""The real server's counters of batching (batching/batching_session.cc, batching_util.h), in Prometheus' text format."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from serving.server.observability.histogram import Histogram, exponential

_PREFIX = ":tensorflow:serving:batching_session:"
_SIZES = exponential(1, 2, 14)


class BatchingMetrics:
    """Counters of all queues of a server. Sizes are in rows, latencies in microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queuing = Histogram(f"{_PREFIX}queuing_latency", exponential(100, 1.2, 52), ("thread_pool_name",))
        self._padding = Histogram(f"{_PREFIX}padding_size", _SIZES, ("execution_batch_size",))
        self._input = Histogram(f"{_PREFIX}input_batch_size", _SIZES)
        self._processed = Histogram(f"{_PREFIX}processed_batch_size", _SIZES)
        self._runs = 0

    def request(self, rows: int, tensors: int) -> None:
        """Count a request with `tensors` arrays of `rows` rows; each array counts."""
        with self._lock:
            for _ in range(tensors):
                self._input.add(rows)

    def batch(self, waited: Sequence[float], rows: int, padded: int) -> None:
        """Count a batch that starts to run.

        Args:
            waited: seconds in the queue, one number per task.
            rows: rows of the tasks.
            padded: rows after padding.
        """
        with self._lock:
            self._runs += 1
            for seconds in waited:
                self._queuing.add(seconds * 1e6, "")
            self._padding.add(padded - rows, str(padded))
            self._processed.add(padded)

    def lines(self) -> list[str]:
        """Return the counters in Prometheus' text format."""
        with self._lock:
            name = f"{_PREFIX}wrapped_run_count"
            lines = [f"# TYPE {name} counter", f"{name}{{}} {self._runs}"]
            for histogram in (self._queuing, self._padding, self._input, self._processed):
                lines += histogram.lines()
            return lines
