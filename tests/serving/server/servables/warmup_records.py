"""Write warm-up records into a SavedModel."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from serving.protocol.messages import serving_message


def write_warmup(base_path: Path, *records: bytes) -> None:
    folder = base_path / "1" / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def prediction_log(kind: str, request: bytes) -> bytes:
    log = serving_message("PredictionLog")()
    getattr(log, kind).request.ParseFromString(request)
    data: bytes = log.SerializeToString()
    return data
