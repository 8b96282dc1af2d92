"""Warm-up: the recorded requests of a SavedModel are answered once before the version becomes available."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from serving.protocol.messages import serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.metrics import Metrics

log = logging.getLogger(__name__)

MAX_RECORDS = 1000
"""More is an error (servables/tensorflow/saved_model_warmup_util.h)."""


def records_file(path: str) -> Path:
    """The TFRecord file of PredictionLogs in a SavedModel's folder, which need not be there."""
    return Path(path) / "assets.extra" / "tf_serving_warmup_requests"


def warm_up(path: str, answer: Callable[[Any], None], *, iterations: int, metrics: Metrics) -> int:
    """Answer the recorded requests of the SavedModel at `path`.

    Args:
        answer: answers one PredictionLog message.
        metrics: counts the time that all records took.

    Returns:
        Records read; 0 where there is no file.

    Raises:
        StatusError: a record is damaged or its request fails: the version must then not be served.
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
    metrics.warmed_up(path, seconds)
    log.info("Answered %d warm-up records of %s in %.2f s.", count, file, seconds)
    return count


def _records(file: Path) -> Any:
    kind = serving_message("PredictionLog")
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            yield kind.FromString(record)
    except tf.errors.DataLossError as exc:
        what = str(exc.message).split(" [Op:")[0].removeprefix("{{function_node")
        raise StatusError(
            Code.DATA_LOSS, f"{what}. Please verify your warmup data is in TFRecord format."
        ) from exc
    except _decode_error() as exc:
        raise invalid_argument(f"Failed to parse warmup record from {file}") from exc


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError
