"""What the real server counts of batching (batching/batching_session.cc, batching_util.h), as Prometheus reads it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

_PREFIX = ":tensorflow:serving:batching_session:"


def exponential(scale: float, factor: float, count: int) -> tuple[float, ...]:
    """Upper bounds of buckets, as tensorflow::monitoring::Buckets::Exponential makes them."""
    return tuple(scale * factor**power for power in range(count))


_SIZES = exponential(1, 2, 14)


@dataclass
class _Histogram:
    """Observations in buckets.

    Attributes:
        label: name of the one label that cells differ in; empty: there is one cell without a label.
    """

    name: str
    bounds: Sequence[float]
    label: str = ""
    cells: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)

    def add(self, value: float, cell: str = "") -> None:
        counts, total = self.cells.setdefault(cell, ([0] * (len(self.bounds) + 1), [0.0]))
        counts[bisect_left(self.bounds, value)] += 1
        total[0] += value

    def lines(self) -> list[str]:
        name = f"{_PREFIX}{self.name}"
        lines = [f"# TYPE {name} histogram"]
        for cell, (counts, total) in sorted(self.cells.items()):
            own = f'{self.label}="{cell}",' if self.label else ""
            running = 0
            for bound, count in zip([*(f"{b:g}" for b in self.bounds), "+Inf"], counts, strict=True):
                running += count
                lines.append(f'{name}_bucket{{{own}le="{bound}"}} {running}')
            lines.append(f"{name}_sum{{{own.rstrip(',')}}} {total[0]:g}")
            lines.append(f"{name}_count{{{own.rstrip(',')}}} {running}")
        return lines


class BatchingMetrics:
    """Counters of all queues of a server. Sizes are rows, latencies microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queuing = _Histogram("queuing_latency", exponential(100, 1.2, 52), "thread_pool_name")
        self._padding = _Histogram("padding_size", _SIZES, "execution_batch_size")
        self._input = _Histogram("input_batch_size", _SIZES)
        self._processed = _Histogram("processed_batch_size", _SIZES)
        self._runs = 0

    def request(self, rows: int, tensors: int) -> None:
        """A request with `tensors` arrays of `rows` rows: each array is counted."""
        with self._lock:
            for _ in range(tensors):
                self._input.add(rows)

    def batch(self, waited: Sequence[float], rows: int, padded: int) -> None:
        """A batch that now runs.

        Args:
            waited: seconds in the queue, a task.
            rows: of the tasks; `padded`: with the rows added.
        """
        with self._lock:
            self._runs += 1
            for seconds in waited:
                self._queuing.add(seconds * 1e6)
            self._padding.add(padded - rows, str(padded))
            self._processed.add(padded)

    def lines(self) -> list[str]:
        with self._lock:
            name = f"{_PREFIX}wrapped_run_count"
            lines = [f"# TYPE {name} counter", f"{name}{{}} {self._runs}"]
            for histogram in (self._queuing, self._padding, self._input, self._processed):
                lines += histogram.lines()
            return lines
