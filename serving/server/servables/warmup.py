"""Warm-up: the requests recorded in a SavedModel are answered before the version becomes available."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from serving.protocol.messages import serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.observability.metrics import Metrics

log = logging.getLogger(__name__)

MAX_RECORDS = 1000
"""More records are an error (servables/tensorflow/saved_model_warmup_util.h)."""


def records_file(path: str) -> Path:
    """Return the path of the TFRecord file of PredictionLogs in a SavedModel's folder. The file need not exist."""
    return Path(path) / "assets.extra" / "tf_serving_warmup_requests"


def warm_up(path: str, answer: Callable[[Any], None], *, iterations: int, metrics: Metrics) -> int:
    """Answer the recorded requests of the SavedModel at `path`.

    Args:
        path: the version's folder.
        answer: answers one PredictionLog message.
        iterations: how often each request is answered.
        metrics: records the duration.

    Returns:
        The number of records; 0 if there is no file.

    Raises:
        StatusError: a record is damaged or its request fails; the version must not be served.
    """
    file = records_file(path)
    if not file.is_file():
        return 0
    started = time.monotonic()
    count = 0
    for record in _records(file):
        for _ in range(iterations):
            answer(record)
        count += 1
        if count > MAX_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
    seconds = time.monotonic() - started
    metrics.record_warmup(path, seconds)
    log.info("Answered %d warm-up records of %s in %.2f s.", count, file, seconds)
    return count


def _records(file: Path) -> Any:
    kind = serving_message("PredictionLog")
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            yield kind.FromString(record)
    except tf.errors.DataLossError as exc:
        damage = str(exc.message).split(" [Op:")[0].removeprefix("{{function_node")
        raise StatusError(
            Code.DATA_LOSS, f"{damage}. Please verify your warmup data is in TFRecord format."
        ) from exc
    except _decode_error() as exc:
        raise invalid_argument(f"Failed to parse warmup record from {file}") from exc


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError
