"""Log of sampled requests and responses: a TFRecord file of PredictionLog, as TensorFlow Serving's request logger writes it.

The rules are those of core/request_logger.cc. Warm-up records have the same format. `tfbundle smoke --replay` and
`tfbundle bench --replay` send the requests again.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

from serving.errors import ConfigError
from serving.protocol.messages import serving_message

log = logging.getLogger(__name__)

KINDS = {"Predict": "predict_log", "Classify": "classify_log", "Regress": "regress_log", "MultiInference": "multi_inference_log"}
"""Method -> the field of PredictionLog that holds its request and response."""


class RequestLog:
    """Writes a random sample of the answered requests.

    Args:
        folder: where to write; each server process writes its own file `requests-<time>-<process>.tfrecord`.
        rate: share of the requests, 0 to 1; each request is drawn independently.
        tags: tags of the meta graph that is served.

    Raises:
        ConfigError: the rate is out of range, or the folder cannot be created.
    """

    def __init__(self, folder: str, rate: float, tags: tuple[str, ...]) -> None:
        if not 0 <= rate <= 1:
            raise ConfigError(f"--log_requests_sample_rate must be between 0 and 1, got {rate}.", fix="set e.g. 0.01")
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = Path(folder) / f"requests-{stamp}-{os.getpid()}.tfrecord"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            what = f"Requests cannot be logged to {folder}: {exc.strerror}."
            raise ConfigError(what, fix="give a folder that can be written to") from exc
        self._rate = rate
        self._tags = tags
        self._lock = threading.Lock()
        self._writer: Any = None
        self._failed = False

    def wants(self) -> bool:
        """Draw whether the current request is part of the sample."""
        return self._rate > 0 and random.random() < self._rate

    def offer(self, method: str, request: Any, response: Any) -> None:
        """Write a request message and its response if the method is logged and the request is drawn for the sample."""
        if method in KINDS and self.wants():
            self.write(method, request, response)

    def write(self, method: str, request: Any, response: Any) -> None:
        """Write a request message and its response. If the disk is full, that is logged once and no request fails.

        Args:
            method: a key of KINDS.
            request: the method's request message.
            response: the method's response message.
        """
        record = serving_message("PredictionLog")()
        entry = getattr(record, KINDS[method])
        entry.request.CopyFrom(request)
        entry.response.CopyFrom(response)
        metadata = record.log_metadata
        metadata.model_spec.CopyFrom(response.model_spec if method != "MultiInference" else request.tasks[0].model_spec)
        metadata.sampling_config.sampling_rate = self._rate
        metadata.saved_model_tags.extend(self._tags)
        metadata.timestamp_secs = int(time.time())
        self._append(record.SerializeToString())

    def close(self) -> None:
        """Close the file; a later request would open it again."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _append(self, data: bytes) -> None:
        import tensorflow as tf

        with self._lock:
            try:
                if self._writer is None:
                    self._writer = tf.io.TFRecordWriter(str(self.path))
                self._writer.write(data)
                self._writer.flush()  # so that readers, and a server that is killed, have whole records
            except tf.errors.OpError as exc:
                if not self._failed:
                    log.warning("Requests are not logged to %s: %s", self.path, exc.message)
                self._failed = True
