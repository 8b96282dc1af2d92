"""Load a version's folder with the servable that fits it."""

from __future__ import annotations

import time
from pathlib import Path

from serving.protocol.status import invalid_argument
from serving.regular_file import kind, special_files
from serving.server.config.options import ServerOptions
from serving.server.observability.metrics import Metrics
from serving.server.servables.bundle_files import check_recorded
from serving.server.servables.protocol import Servable
from serving.server.servables.tflite import TfliteOptions, TfliteServable


def load_servable(path: str, options: ServerOptions, metrics: Metrics | None = None) -> Servable:
    """Load the version in folder `path`.

    It is the folder's model.tflite if there is one and the options prefer it, else the SavedModel, as in the real server
    (servables/tensorflow/saved_model_bundle_factory.cc). TensorFlow is imported only for a SavedModel.

    Args:
        path: the version's folder.
        options: the server's options.
        metrics: counts the loads of SavedModels, as TensorFlow's loader does in the real server; None counts none.

    Raises:
        RefusedModelError: the files are not those that the version's bundle records, or the model does more than compute.
        StatusError: the files do not exist, are damaged or cannot run. A FIFO, a device or a graph of 2 GiB and more is
            refused before any file is opened.
    """
    _check_files(path)
    check_recorded(path)
    if options.prefer_tflite and TfliteServable.is_at(path):
        return TfliteServable.load(path, TfliteOptions(options.tflite_pool_size, options.allow_unsafe_ops))
    from serving.server.servables.saved_model import SavedModelServable, SessionOptions

    session = SessionOptions(
        options.saved_model_tags, *options.threads, options.allow_unsafe_ops, options.mixed_precision
    )
    started = time.monotonic()
    try:
        servable = SavedModelServable.load(path, session)
    except BaseException:
        if metrics is not None:
            metrics.record_load(path, None)
        raise
    if metrics is not None:
        metrics.record_load(path, time.monotonic() - started)
    return servable


_GRAPH_LIMIT = 2**31
"""A message of protobuf has fewer bytes. TensorFlow would read a larger file into memory before it fails."""


def _check_files(path: str) -> None:
    """Raise if TensorFlow would hang on a file of the version: it opens FIFOs and reads devices without end."""
    for file, mode in special_files(path):
        raise invalid_argument(f"{file} is {kind(mode)}, not a regular file")
    for name in ("saved_model.pb", "saved_model.pbtxt"):
        file = Path(path, name)
        if file.is_file() and file.stat().st_size >= _GRAPH_LIMIT:
            raise invalid_argument(f"{file} has {file.stat().st_size} bytes, but a SavedModel's graph has less than 2 GiB")
