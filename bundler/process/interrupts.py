"""Ctrl-C and SIGTERM while libraries run that turn the exception of an interruption into one of their own, or swallow it.

Python raises KeyboardInterrupt wherever the main thread happens to be. C++ that calls back into Python, as torch's tracers do,
may report it as a RuntimeError, and a bare `except:` hides it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bundler.process.causes import chain_of

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What is known about the signals that have come since `watched` began."""

    def __init__(self) -> None:
        self._again: Callable[[], object] | None = None

    def record(self, again: Callable[[], object]) -> None:
        """Note that a signal has come; `again` raises what its handler raises."""
        self._again = again

    def raise_if_caused(self, exc: BaseException | None = None) -> None:
        """Raise the interruption if one has come, whatever became of its exception.

        Args:
            exc: the exception that a library raised; one with a KeyboardInterrupt among its causes is an interruption, too.
        """
        cause = next((each for each in chain_of(exc) if isinstance(each, KeyboardInterrupt)), None) if exc else None
        if self._again is not None:
            try:
                self._again()
            except KeyboardInterrupt as interrupt:
                raise interrupt from exc
        if cause is not None:
            raise type(cause)(*cause.args) from exc


@contextmanager
def watched() -> Iterator[Interruption]:
    """Return a context that notes SIGINT and SIGTERM and passes them on to their handlers.

    An exception that leaves the context after such a signal, or that has an interruption among its causes, becomes the
    interruption; so does an end without an exception. Outside the main thread, which alone receives signals, only causes are
    looked at.
    """
    interruption = Interruption()
    with _handlers(interruption):
        try:
            yield interruption
        except KeyboardInterrupt:
            raise
        except Exception as exc:
            interruption.raise_if_caused(exc)
            raise
        else:
            interruption.raise_if_caused()


@contextmanager
def _handlers(interruption: Interruption) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, _noting(interruption, handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)


def _noting(interruption: Interruption, handler: Callable[[int, FrameType | None], object]) -> Callable[..., object]:
    def note(number: int, frame: FrameType | None) -> object:
        interruption.record(lambda: handler(number, None))
        return handler(number, frame)

    return note
