"""Queries of TensorFlow Serving's metrics in PromQL, for the alert rules and the dashboard.

The server exports the metrics of TensorFlow's C++ code under their names with `:` for `/`, so that they begin with a colon, which
is legal in PromQL. Latencies are in microseconds and of successful requests only (servables/tensorflow/util.cc). The metrics
of batching name no model; they are restricted to the servers that serve the bundle's models (`served_here`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
RUN_LATENCY = ":tensorflow:serving:runtime_latency"
WARMUP = ":tensorflow:serving:model_warmup_latency"
LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
LOAD_TIME = ":tensorflow:cc:saved_model:load_latency"
QUEUE = ":tensorflow:serving:batching_session:queuing_latency"
BATCHES = ":tensorflow:serving:batching_session:wrapped_run_count"
BATCH_SIZE = ":tensorflow:serving:batching_session:processed_batch_size"
PADDING = ":tensorflow:serving:batching_session:padding_size"

FAULTS = "UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
"""Statuses that are not a mistake of the client, as a regular expression."""

MEMORY = "container_memory_working_set_bytes"
MEMORY_LIMIT = "kube_pod_container_resource_limits"
KUBELET = (MEMORY, MEMORY_LIMIT)
"""Metrics that the kubelet and kube-state-metrics export, as the server has none of its memory."""


def names_regex(names: Iterable[str]) -> str:
    """Return a regular expression that matches exactly these names."""
    return "|".join(re.sub(r"([.+*?()\[\]{}|^$\\])", r"\\\1", name) for name in names)


def series(metric: str, **matchers: str) -> str:
    """Return a selector of a metric's series. A matcher whose value begins with `=~` or `!=` has that operator, else `=`."""
    parts = []
    for label, value in matchers.items():
        operator, text = (value[:2], value[2:]) if value[:2] in ("=~", "!=") else ("=", value)
        parts.append(f"{label}{operator}{json.dumps(text, ensure_ascii=False)}")
    return f"{metric}{{{','.join(parts)}}}"


def model_path(models: str, version: str = "[0-9]+") -> str:
    """Return a matcher of the folders of versions, given regular expressions of names and versions."""
    return f"=~.*/({models})/({version})"


def per_second(selector: str, window: str, *by: str) -> str:
    """Return the sum of a counter's increase per second, for each value of the labels in `by`."""
    return f"sum by ({', '.join(by)}) (rate({selector}[{window}]))"


def quantile(share: float, selector: str, window: str, *by: str) -> str:
    """Return a quantile of a histogram of microseconds, in seconds."""
    return f"histogram_quantile({share:g}, {per_second(selector, window, *by, 'le')}) / 1e6"


def served_here(selector: str, models: str) -> str:
    """Return the series of those servers that have loaded a version of the models; `instance` names a server."""
    return f"{selector} and on (instance) {series(LOADS, model_path=model_path(models), status='success')}"


def mean(metric: str, window: str, models: str, *by: str) -> str:
    """Return the mean of a histogram's observations, of the servers of the models."""
    total, count = (f"sum by ({', '.join(by)}) ({_rate(f'{metric}_{part}', window, models)})" for part in ("sum", "count"))
    return f"{total} / {count}"


def sum_here(metric: str, window: str, models: str, *by: str) -> str:
    """Return the sum of a counter's increase per second over the servers of the models."""
    return f"sum by ({', '.join(by)}) ({_rate(metric, window, models)})"


def queue_quantile(share: float, window: str, models: str, *by: str) -> str:
    """Return a quantile of the time that requests wait to be batched, in seconds."""
    buckets = f"sum by ({', '.join((*by, 'le'))}) ({_rate(f'{QUEUE}_bucket', window, models)})"
    return f"histogram_quantile({share:g}, {buckets}) / 1e6"


def _rate(metric: str, window: str, models: str) -> str:
    return served_here(f"rate({metric}[{window}])", models)
