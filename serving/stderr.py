"""Capturing what C++ libraries write to stderr: off the terminal, and available for an error message."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass
class Captured:
    """The captured text; it is complete when the `with` block has ended."""

    text: str = ""


@contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Redirect file descriptor 2 of the whole process to a temporary file.

    Python's own `sys.stderr` still writes to the terminal, so that a progress display stays visible.
    """
    captured = Captured()
    sys.stderr.flush()
    original = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file, _python_stderr_to(original):
            os.dup2(file.fileno(), 2)
            try:
                yield captured
            finally:
                os.dup2(original, 2)
                file.seek(0)
                captured.text = file.read().decode("utf-8", "replace")
    finally:
        os.close(original)


@contextmanager
def _python_stderr_to(original: int) -> Iterator[None]:
    """Make `sys.stderr` write to `original` if it is the stream of file descriptor 2."""
    before: TextIO = sys.stderr
    if not _is_descriptor_2(before):
        yield
        return
    with open(os.dup(original), "w", buffering=1, encoding=before.encoding, errors="replace") as stream:  # noqa: PTH123
        sys.stderr = stream
        try:
            yield
        finally:
            stream.flush()
            sys.stderr = before


def _is_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError):
        return False
