"""Counters in Prometheus' text form, under the names that the real server's have (servables/tensorflow/util.cc).

Only what this server counts itself is there: TensorFlow's own C++ counters are not within Python's reach.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from serving.protocol.status import Code
from serving.server.histogram import Histogram, exponential, labels

REQUEST_COUNT = "/tensorflow/serving/request_count"
REQUEST_LATENCY = "/tensorflow/serving/request_latency"
DEFAULT_PATH = "/monitoring/prometheus/metrics"

_BOUNDS = exponential(10, 1.8, 33)
"""Upper bounds of the latency buckets in microseconds, up to about 20 minutes."""


class Metrics:
    """Requests by model: how many with which status, and how long those answered took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._latencies = Histogram(_prometheus(REQUEST_LATENCY), _BOUNDS, ("model_name", "API", "entrypoint"))
        self._others: list[Callable[[], list[str]]] = []

    def include(self, lines: Callable[[], list[str]]) -> None:
        """Show further lines of Prometheus' text, as they are whenever the metrics are read."""
        self._others.append(lines)

    def record(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count one request; only answered ones go into the latencies."""
        with self._lock:
            self._counts[model, code.name] += 1
            if code is Code.OK:
                self._latencies.add(seconds * 1e6, model, api, entrypoint)

    def total(self, name: str) -> int:
        """The sum of a counter over all its labels; 0 for one that there is not."""
        with self._lock:
            return sum(self._counts.values()) if name == REQUEST_COUNT else 0

    def text(self) -> str:
        """All counters as Prometheus reads them."""
        others = [line for lines in self._others for line in lines()]
        with self._lock:
            return "\n".join([*self._count_lines(), *self._latencies.lines(), *others]) + "\n"

    def _count_lines(self) -> list[str]:
        name = _prometheus(REQUEST_COUNT)
        lines = [f"# TYPE {name} counter"]
        for (model, status), count in sorted(self._counts.items()):
            lines.append(f"{name}{labels(('model_name', model), ('status', status))} {count}")
        return lines


def _prometheus(name: str) -> str:
    return name.replace("/", ":")
