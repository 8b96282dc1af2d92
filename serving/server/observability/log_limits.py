"""At most a few lines of one kind per minute, so that no client and no broken file can fill a disk with the server's log.

Lines are of one kind if they have the same logger, level and text before arguments are put in, digits aside. The lines beyond
the limit are counted, and the next one that is written says how many were left out.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass

SECONDS = 60.0
"""The period that limits are for."""

_MOST_LINES = 100
"""Lines of a kind per period, for levels below WARNING: a server that loads many models writes many at once."""

_MOST_WARNINGS = 5
_MOST_TRACES = 1
"""Tracebacks of a kind per period; further lines of the kind are written without theirs."""

_MOST_KINDS = 50
"""Kinds that are told apart at once; all others together are one more kind."""

_LONGEST = 2_000
"""Characters of a message; a config file that does not parse is quoted by its error."""

_LONGEST_TRACE = 8_000
_EXEMPT = frozenset({"serving.access"})
"""Loggers that write a line per request because the user asked for it."""

_DIGITS = re.compile(r"\d+")
_Kind = tuple[str, int, str]


@dataclass
class _Count:
    """Lines of a kind in the current period."""

    since: float
    written: int = 0
    traces: int = 0
    left_out: int = 0


class LogLimits(logging.Filter):
    """A filter for a handler. It may be shared by handlers that do not see the same records."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._counts: dict[_Kind, _Count] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written; shorten it and add the number of lines that were left out before it."""
        if record.name in _EXEMPT:
            return True
        with self._lock:
            count, left_out, seconds = self._count(record)
            most = _MOST_WARNINGS if record.levelno >= logging.WARNING else _MOST_LINES
            if count.written >= most:
                count.left_out += 1
                return False
            count.written += 1
            traced = bool(record.exc_info) and count.traces < _MOST_TRACES
            count.traces += traced
        _shorten(record, with_trace=traced)
        if left_out:
            record.msg += f" (and {left_out:,} more in the last {seconds:.0f} s)"
        return True

    def _count(self, record: logging.LogRecord) -> tuple[_Count, int, float]:
        """Return a kind's count; in a new period also how many lines the one before left out, and its seconds."""
        now = time.monotonic()
        key = (record.name, record.levelno, _DIGITS.sub("0", str(record.msg)[:200]))
        if key not in self._counts and len(self._counts) >= _MOST_KINDS:
            self._forget(now)
            if len(self._counts) >= _MOST_KINDS:
                key = ("", 0, "")
        count = self._counts.get(key)
        if count is None or now - count.since >= SECONDS:
            left_out, seconds = (count.left_out, now - count.since) if count else (0, 0.0)
            self._counts[key] = count = _Count(now)
            return count, left_out, seconds
        return count, 0, 0.0

    def _forget(self, now: float) -> None:
        """Drop the kinds that were not seen lately and have nothing left to say."""
        old = [key for key, count in self._counts.items() if now - count.since >= SECONDS and not count.left_out]
        for key in old:
            del self._counts[key]


def limit_lines(handler: logging.Handler) -> None:
    """Limit what a handler writes, once."""
    if not any(isinstance(each, LogLimits) for each in handler.filters):
        handler.addFilter(LogLimits())


def _shorten(record: logging.LogRecord, *, with_trace: bool) -> None:
    message = record.getMessage()
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}... ({len(message):,} characters)"
    record.msg, record.args = message, None
    if record.exc_info and with_trace:
        trace = record.exc_text or logging.Formatter().formatException(record.exc_info)
        record.exc_text = trace[:_LONGEST_TRACE]
    elif record.exc_info:
        error = record.exc_info[1]
        record.msg += f" [{type(error).__name__}: {str(error)[:200]}]"
        record.exc_info = record.exc_text = None
