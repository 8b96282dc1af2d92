"""Log of sampled requests and responses: a TFRecord file of PredictionLog, as TensorFlow Serving's request logger writes it.

The rules are those of core/request_logger.cc. Warm-up records have the same format. `tfbundle smoke --replay` and
`tfbundle bench --replay` send the requests again.

The files hold users' data, so only the server's user can read them (mode 0600; 0700 for folders that are created), and they are
never written through a symbolic link.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from itertools import count
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
        ConfigError: the rate is out of range, or the folder is a symbolic link or cannot be created.

    Attributes:
        path: the file.
    """

    def __init__(self, folder: str, rate: float, tags: tuple[str, ...]) -> None:
        if not 0 <= rate <= 1:
            raise ConfigError(
                f"--log_requests_sample_rate must be between 0 and 1, got {rate}.", fix="set e.g. 0.01", code="TFB6002"
            )
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = Path(folder) / f"requests-{stamp}-{os.getpid()}.tfrecord"
        _make_folder(self.path.parent)
        self._rate = rate
        self._tags = tags
        self._lock = threading.Lock()
        self._writer: Any = None
        self._handle: int | None = None
        self._closed = False
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
        """Close the file. Later requests are not logged."""
        with self._lock:
            self._closed = True
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _append(self, data: bytes) -> None:
        import tensorflow as tf

        with self._lock:
            if self._closed:
                return
            try:
                if self._writer is None:
                    self._writer = tf.io.TFRecordWriter(self._new_file())
                self._writer.write(data)
                self._writer.flush()  # so that readers, and a server that is killed, have whole records
            except (tf.errors.OpError, OSError) as exc:
                if not self._failed:
                    log.warning("Requests are not logged to %s: %s", self.path, getattr(exc, "message", exc))
                self._failed = True

    def _new_file(self) -> str:
        """Create the file. Return a name under which TensorFlow opens exactly this file, whatever becomes of its path."""
        if self._handle is None:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self.path, self._handle = _create(self.path, folder)
            finally:
                os.close(folder)
        return f"/dev/fd/{self._handle}"


def _make_folder(folder: Path) -> None:
    fix = "give a folder that can be written to"
    if folder.is_symlink():
        what = f"Requests cannot be logged to {folder}: it is a symbolic link."
        raise ConfigError(what, fix="give the folder that it leads to", code="TFB6007")
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            raise ConfigError(f"Requests cannot be logged to {folder}: it is not a folder.", fix=fix, code="TFB6007")
    except OSError as exc:
        raise ConfigError(f"Requests cannot be logged to {folder}: {exc.strerror}.", fix=fix, code="TFB6007") from exc


def _create(path: Path, folder: int) -> tuple[Path, int]:
    """Create a new file in an open folder, under another name if there is one already. Return its path and its handle."""
    for number in count():
        free = path.with_stem(f"{path.stem}-{number}") if number else path
        try:
            return free, os.open(free.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except FileExistsError:
            continue
    raise AssertionError("count() does not end")
