"""Capturing the output of torch's exporter: off the terminal, and available for a report."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_LOGGERS = ("torch", "onnxscript", "onnx_ir", "onnx", "transformers", "timm", "huggingface_hub")


class _ThreadStream(io.TextIOBase):
    """A stream that captures the text of one thread; other threads, such as a progress display, write to `original`."""

    def __init__(self, original: TextIO, captured: io.StringIO) -> None:
        self._original = original
        self._captured = captured
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        is_captured = threading.get_ident() == self._thread
        return self._captured.write(text) if is_captured else self._original.write(text)

    def flush(self) -> None:
        self._original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


@contextmanager
def silence() -> Iterator[io.StringIO]:
    """Capture this thread's prints and torch's log records in the buffer that is yielded, and ignore warnings."""
    captured = io.StringIO()
    out, err = sys.stdout, sys.stderr
    handler = logging.StreamHandler(captured)
    with warnings.catch_warnings(), _loggers(handler):
        warnings.simplefilter("ignore")
        sys.stdout, sys.stderr = _ThreadStream(out, captured), _ThreadStream(err, captured)
        try:
            yield captured
        finally:
            sys.stdout, sys.stderr = out, err


@contextmanager
def _loggers(handler: logging.Handler) -> Iterator[None]:
    """Send the records of the exporters' loggers to `handler` alone, and restore the loggers afterwards."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGGERS]
    loggers = [logging.getLogger(name) for name in {*names, *_LOGGERS}]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        top = "." not in logger.name
        logger.handlers = [handler] if top else []
        logger.propagate = not top
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
