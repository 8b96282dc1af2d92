"""Keeps the chatter of torch's exporter off the terminal, and at hand for a report."""

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
    """Keeps what one thread writes; other threads, such as a progress display, go on writing to `original`."""

    def __init__(self, original: TextIO, kept: io.StringIO) -> None:
        self._original = original
        self._kept = kept
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        mine = threading.get_ident() == self._thread
        return self._kept.write(text) if mine else self._original.write(text)

    def flush(self) -> None:
        self._original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


@contextmanager
def silence() -> Iterator[io.StringIO]:
    """Keep this thread's prints and log records of torch in the buffer that is yielded; ignore warnings."""
    kept = io.StringIO()
    out, err = sys.stdout, sys.stderr
    handler = logging.StreamHandler(kept)
    with warnings.catch_warnings(), _loggers(handler):
        warnings.simplefilter("ignore")
        sys.stdout, sys.stderr = _ThreadStream(out, kept), _ThreadStream(err, kept)
        try:
            yield kept
        finally:
            sys.stdout, sys.stderr = out, err


@contextmanager
def _loggers(handler: logging.Handler) -> Iterator[None]:
    """Send the records of the exporters' loggers to `handler` alone, and put everything back."""
    names = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] in _LOGGERS]
    found = [logging.getLogger(name) for name in {*names, *_LOGGERS}]
    before = [(logger, logger.handlers, logger.propagate) for logger in found]
    for logger in found:
        top = "." not in logger.name
        logger.handlers = [handler] if top else []
        logger.propagate = not top
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
