"""Counters in Prometheus' text form, under the names that the real server's have (servables/tensorflow/util.cc).

Only what this server counts itself is there: TensorFlow's own C++ counters are not within Python's reach.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from serving.protocol.status import Code
from serving.server.histogram import Histogram, exponential, labels

REQUEST_COUNT = "/tensorflow/serving/request_count"
REQUEST_LATENCY = "/tensorflow/serving/request_latency"
RUNTIME_LATENCY = "/tensorflow/serving/runtime_latency"
EXAMPLE_COUNTS = "/tensorflow/serving/request_example_counts"
EXAMPLE_COUNT_TOTAL = "/tensorflow/serving/request_example_count_total"
WARMUP_LATENCY = "/tensorflow/serving/model_warmup_latency"
DEFAULT_PATH = "/monitoring/prometheus/metrics"

_BOUNDS = exponential(10, 1.8, 33)
"""Upper bounds of the latency buckets in microseconds, up to about 20 minutes."""


RUNTIME = "TF1"
"""How the real server calls a session."""


class Metrics:
    """Requests by model: how many with which status, how long those answered took and how much of it the model ran."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)
        self._latencies = Histogram(_prometheus(REQUEST_LATENCY), _BOUNDS, ("model_name", "API", "entrypoint"))
        self._runs = Histogram(_prometheus(RUNTIME_LATENCY), _BOUNDS, ("model_name", "API", "runtime"))
        self._warmups = Histogram(_prometheus(WARMUP_LATENCY), _BOUNDS, ("model_path", "status"))
        self._examples = Histogram(_prometheus(EXAMPLE_COUNTS), exponential(1, 2, 15), ("model",))
        self._example_totals: dict[str, int] = defaultdict(int)
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

    def ran(self, model: str, api: str, seconds: float) -> None:
        """Time in TensorFlow of one run that succeeded."""
        with self._lock:
            self._runs.add(seconds * 1e6, model, api, RUNTIME)

    def examples(self, model: str, count: int) -> None:
        """The tf.Examples of one MultiInference, the one method that counts them (multi_inference.cc)."""
        with self._lock:
            self._examples.add(count, model)
            self._example_totals[model] += count

    def warmed_up(self, path: str, seconds: float) -> None:
        """The time that a version's warm-up records took; a version that fails at one is not counted."""
        with self._lock:
            self._warmups.add(seconds * 1e6, path, "OK")

    def total(self, name: str) -> int:
        """The sum of a counter over all its labels; 0 for one that there is not."""
        with self._lock:
            if name == EXAMPLE_COUNT_TOTAL:
                return sum(self._example_totals.values())
            return sum(self._counts.values()) if name == REQUEST_COUNT else 0

    def text(self) -> str:
        """All counters as Prometheus reads them."""
        others = [line for lines in self._others for line in lines()]
        with self._lock:
            histograms = (self._latencies, self._runs, self._warmups, self._examples)
            own = [line for histogram in histograms for line in histogram.lines()]
            return "\n".join([*self._count_lines(), *own, *others]) + "\n"

    def _count_lines(self) -> list[str]:
        examples: dict[tuple[str, ...], int] = {(model,): count for model, count in self._example_totals.items()}
        return [
            *_counter(REQUEST_COUNT, ("model_name", "status"), self._counts),
            *_counter(EXAMPLE_COUNT_TOTAL, ("model",), examples),
        ]


def _counter(name: str, names: Sequence[str], cells: Mapping[tuple[str, ...], int]) -> list[str]:
    name = _prometheus(name)
    lines = [
        f"{name}{labels(*zip(names, values, strict=True))} {count}" for values, count in sorted(cells.items())
    ]
    return [f"# TYPE {name} counter", *lines]


def _prometheus(name: str) -> str:
    return name.replace("/", ":")
