"""Counters in Prometheus' text format, under the real server's names (servables/tensorflow/util.cc, cc/saved_model/loader.cc).

They are the counters that this server keeps itself; TensorFlow's C++ counters cannot be read from Python.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from serving.protocol.status import Code
from serving.server.observability.histogram import Histogram, exponential, labels

REQUEST_COUNT = "/tensorflow/serving/request_count"
REQUEST_LATENCY = "/tensorflow/serving/request_latency"
RUNTIME_LATENCY = "/tensorflow/serving/runtime_latency"
EXAMPLE_COUNTS = "/tensorflow/serving/request_example_counts"
EXAMPLE_COUNT_TOTAL = "/tensorflow/serving/request_example_count_total"
WARMUP_LATENCY = "/tensorflow/serving/model_warmup_latency"
LOAD_ATTEMPTS = "/tensorflow/cc/saved_model/load_attempt_count"
LOAD_LATENCY = "/tensorflow/cc/saved_model/load_latency"
DEFAULT_PATH = "/monitoring/prometheus/metrics"

_BOUNDS = exponential(10, 1.8, 33)
"""Upper bounds of the latency buckets in microseconds, up to about 20 minutes."""

RUNTIME = "TF1"
"""The real server's name for a session."""


class Metrics:
    """Counts per model: loads, requests by status, their latencies, the latencies of model runs, and tf.Examples."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)
        self._latencies = Histogram(_prometheus(REQUEST_LATENCY), _BOUNDS, ("model_name", "API", "entrypoint"))
        self._runs = Histogram(_prometheus(RUNTIME_LATENCY), _BOUNDS, ("model_name", "API", "runtime"))
        self._warmups = Histogram(_prometheus(WARMUP_LATENCY), _BOUNDS, ("model_path", "status"))
        self._examples = Histogram(_prometheus(EXAMPLE_COUNTS), exponential(1, 2, 15), ("model",))
        self._example_totals: dict[str, int] = defaultdict(int)
        self._loads: dict[tuple[str, ...], int] = defaultdict(int)
        self._load_times: dict[tuple[str, ...], int] = defaultdict(int)
        self._included: list[Callable[[], list[str]]] = []

    def include(self, lines: Callable[[], list[str]]) -> None:
        """Append further lines to the text.

        Args:
            lines: returns the lines; called whenever the metrics are read.
        """
        self._included.append(lines)

    def record(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count one request. Its latency is recorded only if it succeeded.

        Args:
            model: the model's name.
            api: `predict` for REST, `Predict` for gRPC, and so on.
            entrypoint: `REST` or `GRPC`.
            code: status of the answer.
            seconds: time that the answer took.
        """
        with self._lock:
            self._counts[model, code.name] += 1
            if code is Code.OK:
                self._latencies.add(seconds * 1e6, model, api, entrypoint)

    def record_run(self, model: str, api: str, seconds: float) -> None:
        """Record how long one successful run of the model took."""
        with self._lock:
            self._runs.add(seconds * 1e6, model, api, RUNTIME)

    def record_examples(self, model: str, count: int) -> None:
        """Count the tf.Examples of a MultiInference, the only method that counts them (multi_inference.cc)."""
        with self._lock:
            self._examples.add(count, model)
            self._example_totals[model] += count

    def record_load(self, path: str, seconds: float | None) -> None:
        """Count an attempt to load a SavedModel.

        Args:
            path: the version's folder.
            seconds: how long the load took; None if it failed.
        """
        with self._lock:
            self._loads[path, "fail" if seconds is None else "success"] += 1
            if seconds is not None:
                self._load_times[path,] += round(seconds * 1e6)

    def record_warmup(self, path: str, seconds: float) -> None:
        """Record how long a version's warm-up took. A failed warm-up is not recorded."""
        with self._lock:
            self._warmups.add(seconds * 1e6, path, "OK")

    def total(self, name: str) -> int:
        """Return the sum of a counter over all its labels; 0 if the counter is unknown.

        Args:
            name: with slashes, e.g. REQUEST_COUNT.
        """
        with self._lock:
            if name == EXAMPLE_COUNT_TOTAL:
                return sum(self._example_totals.values())
            return sum(self._counts.values()) if name == REQUEST_COUNT else 0

    def text(self) -> str:
        """Return all counters in Prometheus' text format."""
        included = [line for lines in self._included for line in lines()]
        with self._lock:
            histograms = (self._latencies, self._runs, self._warmups, self._examples)
            recorded = [line for histogram in histograms for line in histogram.lines()]
            return "\n".join([*self._count_lines(), *recorded, *included]) + "\n"

    def _count_lines(self) -> list[str]:
        examples: dict[tuple[str, ...], int] = {(model,): count for model, count in self._example_totals.items()}
        return [
            *_counter(REQUEST_COUNT, ("model_name", "status"), self._counts),
            *_counter(EXAMPLE_COUNT_TOTAL, ("model",), examples),
            *_counter(LOAD_ATTEMPTS, ("model_path", "status"), self._loads),
            *_counter(LOAD_LATENCY, ("model_path",), self._load_times),
        ]


def _counter(name: str, names: Sequence[str], cells: Mapping[tuple[str, ...], int]) -> list[str]:
    name = _prometheus(name)
    lines = [
        f"{name}{labels(*zip(names, values, strict=True))} {count}" for values, count in sorted(cells.items())
    ]
    return [f"# TYPE {name} counter", *lines]


def _prometheus(name: str) -> str:
    return name.replace("/", ":")
