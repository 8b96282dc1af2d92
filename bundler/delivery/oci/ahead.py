"""Reading ahead: an iterator that works in a thread of its own while its values are used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Value = TypeVar("Value")

_DEPTH = 8
_END = object()
_POLL_SECONDS = 0.1


@contextmanager
def ahead(values: Iterator[Value], depth: int = _DEPTH) -> Iterator[Iterator[Value]]:
    """Return a context with an iterator whose next values are made while the present one is used.

    An exception of the thread is raised in its place. On leaving, the thread ends after the value that it is making; it is not
    waited for, because the network may make it wait for minutes, and Ctrl-C must not.

    Args:
        values: makes the values.
        depth: how many values are kept at most.
    """
    waiting: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()
    failures: list[BaseException] = []

    def put(value: object) -> bool:
        while not stop.is_set():
            try:
                waiting.put(value, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for value in values:
                if not put(value):
                    return
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that uses the values
            failures.append(exc)
        finally:
            put(_END)

    def results() -> Iterator[Value]:
        while (value := waiting.get()) is not _END:
            yield value  # type: ignore[misc]
        if failures:
            raise failures[0]

    threading.Thread(target=work, name="ahead", daemon=True).start()
    try:
        yield results()
    finally:
        stop.set()
