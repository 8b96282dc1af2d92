"""Counters in Prometheus' text form, under the names that the real server's have (servables/tensorflow/util.cc).

Only what this server counts itself is there: TensorFlow's own C++ counters are not within Python's reach.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence

from serving.protocol.status import Code

REQUEST_COUNT = "/tensorflow/serving/request_count"
REQUEST_LATENCY = "/tensorflow/serving/request_latency"
DEFAULT_PATH = "/monitoring/prometheus/metrics"

_BOUNDS = tuple(10 * 1.8**power for power in range(33))
"""Upper bounds of the latency buckets in microseconds, up to about 20 minutes."""


class Metrics:
    """Requests by model: how many with which status, and how long those answered took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._buckets: dict[tuple[str, str, str], list[int]] = {}
        self._sums: dict[tuple[str, str, str], float] = defaultdict(float)
        self._others: list[Callable[[], list[str]]] = []

    def include(self, lines: Callable[[], list[str]]) -> None:
        """Show further lines of Prometheus' text, as they are whenever the metrics are read."""
        self._others.append(lines)

    def record(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count one request; only answered ones go into the latencies."""
        with self._lock:
            self._counts[model, code.name] += 1
            if code is not Code.OK:
                return
            key = (model, api, entrypoint)
            buckets = self._buckets.setdefault(key, [0] * (len(_BOUNDS) + 1))
            buckets[bisect_left(_BOUNDS, seconds * 1e6)] += 1
            self._sums[key] += seconds * 1e6

    def total(self, name: str) -> int:
        """The sum of a counter over all its labels; 0 for one that there is not."""
        with self._lock:
            return sum(self._counts.values()) if name == REQUEST_COUNT else 0

    def text(self) -> str:
        """All counters as Prometheus reads them."""
        others = [line for lines in self._others for line in lines()]
        with self._lock:
            return "\n".join([*self._count_lines(), *self._latency_lines(), *others]) + "\n"

    def _count_lines(self) -> list[str]:
        name = _prometheus(REQUEST_COUNT)
        lines = [f"# TYPE {name} counter"]
        for (model, status), count in sorted(self._counts.items()):
            lines.append(f"{name}{_labels(('model_name', model), ('status', status))} {count}")
        return lines

    def _latency_lines(self) -> list[str]:
        name = _prometheus(REQUEST_LATENCY)
        lines = [f"# TYPE {name} histogram"]
        for key, buckets in sorted(self._buckets.items()):
            labels = tuple(zip(("model_name", "API", "entrypoint"), key, strict=True))
            running = 0
            for bound, count in zip([*(f"{b:g}" for b in _BOUNDS), "+Inf"], buckets, strict=True):
                running += count
                lines.append(f"{name}_bucket{_labels(*labels, ('le', bound))} {running}")
            lines.append(f"{name}_sum{_labels(*labels)} {self._sums[key]:g}")
            lines.append(f"{name}_count{_labels(*labels)} {running}")
        return lines


def _prometheus(name: str) -> str:
    return name.replace("/", ":")


def _labels(*pairs: Sequence[str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
