"""SIGTERM and SIGINT of a process that serves: drain and stop, and never hang.

- Before the ports are open, nothing can be lost: the first signal ends the process at once with exit code 0, even while models
  are being loaded.
- Later, the first signal starts the drain: running requests are answered, models unloaded, and the exit code is 0.
- A second signal ends the process at once with 128 plus its number: 143 for SIGTERM, 130 for SIGINT. Within half a second it
  counts as the first one, as `timeout` and terminals send one signal to a process and to its group.
- A load that is in progress during the drain is abandoned, as nothing can interrupt it.
- If the drain takes longer than the grace period and `SLACK_SECONDS`, because a kernel never returns, the process ends by itself
  with the exit code that a second signal would have given.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

log = logging.getLogger(__name__)

SLACK_SECONDS = 5.0
"""How long the drain may take beyond the grace period of the requests, to unload the models."""

SAME_SECONDS = 0.5
"""A signal that follows this soon is part of the first one."""

_LOG_SECONDS = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ShutdownSignals:
    """Handlers of both signals within a `with` block of the main thread.

    Args:
        accepts: returns whether the ports are open.
        interrupt: called at the first signal; must not wait.
        grace_seconds: the longest time for running requests.

    Attributes:
        requested: set at the first signal.
    """

    def __init__(self, *, accepts: Callable[[], bool], interrupt: Callable[[], None], grace_seconds: float) -> None:
        self.requested = threading.Event()
        self._accepts = accepts
        self._interrupt = interrupt
        self._seconds = grace_seconds + SLACK_SECONDS
        self._drained = threading.Event()
        self._first_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> ShutdownSignals:
        self._previous = {number: signal.signal(number, self._first) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drained.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _first(self, number: int, frame: FrameType | None) -> None:
        self._first_at = time.monotonic()
        for each in _SIGNALS:
            signal.signal(each, self._second)
        name = signal.Signals(number).name
        if not self._accepts():
            _log(logging.INFO, f"{name}: stopping before the models are loaded.")
            os._exit(0)
        with suppress(RuntimeError):  # no thread can be started; a second signal still ends the process
            threading.Thread(target=self._watch, args=(number,), name="drain-limit", daemon=True).start()
        self.requested.set()
        self._interrupt()
        _log(logging.INFO, f"{name}: answering the running requests, then stopping. A second signal stops at once.")

    def _second(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._first_at >= SAME_SECONDS:
            os._exit(128 + number)

    def _watch(self, number: int) -> None:
        if not self._drained.wait(self._seconds):
            _log(logging.ERROR, f"Stopping now: requests are still running after {self._seconds:.0f} s.")
            os._exit(128 + number)


def leave(code: int) -> None:
    """End the process with an exit code although other threads are busy; the interpreter would wait for them."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _log(level: int, text: str) -> None:
    """Write a line of the log from another thread: a log that nobody reads must not keep the process from ending."""
    with suppress(RuntimeError):
        writer = threading.Thread(target=log.log, args=(level, text), daemon=True)
        writer.start()
        writer.join(_LOG_SECONDS)
