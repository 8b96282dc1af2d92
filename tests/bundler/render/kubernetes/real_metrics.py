"""The metrics of a real ModelServer that alerts and dashboard use, with the file of its sources that defines each."""

from __future__ import annotations

import re

from tests.serving.server.recordings import rows

SOURCES = {
    ":tensorflow:serving:request_count": "servables/tensorflow/util.cc",
    ":tensorflow:serving:request_latency": "servables/tensorflow/util.cc",
    ":tensorflow:serving:runtime_latency": "servables/tensorflow/util.cc",
    ":tensorflow:serving:model_warmup_latency": "servables/tensorflow/saved_model_warmup_util.cc",
    ":tensorflow:serving:batching_session:queuing_latency": "batching/batching_session.cc",
    ":tensorflow:serving:batching_session:wrapped_run_count": "batching/batching_session.cc",
    ":tensorflow:serving:batching_session:padding_size": "batching/batching_util.h",
    ":tensorflow:serving:batching_session:processed_batch_size": "batching/batching_util.h",
    ":tensorflow:cc:saved_model:load_attempt_count": "tensorflow/cc/saved_model/loader.cc",
    ":tensorflow:cc:saved_model:load_latency": "tensorflow/cc/saved_model/loader.cc",
}
"""Name of a metric, without the endings of a histogram's series, to its file."""

_NAME = re.compile(r"(?<![\w:]):[a-z][a-z0-9_:]*")


def names_in(text: str) -> set[str]:
    """Return the server's metrics that a text of queries names, without the endings of a histogram's series."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in SOURCES else name for name in _NAME.findall(text)}


def exported(text: str) -> set[str]:
    """Return the names of the metrics in an answer in Prometheus' text format."""
    return set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))


def recorded() -> set[str]:
    """Return the names in the recorded answer of a real server; the recording leaves out most of them."""
    (row,) = (row for row in rows("A", "rest") if row["id"] == "metrics")
    return exported(str(row["response_body"]))
