"""Logs of requests, written without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.examples import to_message
from serving.protocol.messages import serving_message
from serving.protocol.tensors import to_proto
from serving.protocol.tfrecord import _masked_crc32c


def framed(data: bytes) -> bytes:
    """Return data as a TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc32c(length)) + data + struct.pack("<I", 0)


def write_log(path: Path, entries: Sequence[Any]) -> Path:
    """Write PredictionLog messages, or bytes in their place, into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(entry if isinstance(entry, bytes) else entry.SerializeToString()) for entry in entries))
    return path


def predict(model: str, signature: str = "", *, output_filter: Sequence[str] = (), **inputs: Any) -> Any:
    """Return the log of a predict request."""
    log = serving_message("PredictionLog")()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.output_filter.extend(output_filter)
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))
    return log


def inference(kind: str, model: str, signature: str, *rows: dict[str, Any]) -> Any:
    """Return the log of a request with tf.Examples; `kind` is classify_log or regress_log."""
    log = serving_message("PredictionLog")()
    request = getattr(log, kind).request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.input.example_list.examples.extend(to_message(row) for row in rows)
    return log


def others() -> list[Any]:
    """Return one log of each kind that no call of the client can send."""
    logs = [serving_message("PredictionLog")() for _ in range(4)]
    logs[0].multi_inference_log.request.tasks.add(method_name="tensorflow/serving/regress")
    logs[1].session_run_log.request.model_spec.name = "rows"
    logs[2].predict_streamed_log.SetInParent()
    return logs


def batches(count: int, columns: int, rows: int = 3) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Return so many different float32 arrays [rows, columns]."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(rows, columns)).astype(np.float32) for _ in range(count)]
