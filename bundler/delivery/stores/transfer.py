"""Moving many files at once, with one figure for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

from bundler.delivery.stores.store import Advance
from bundler.delivery.transfers import Outcome, Progress, Transfer
from bundler.process.causes import chain_of
from serving.texts import plural

AT_ONCE = 4
"""Files that are moved at the same time; each has at most `PART_BYTES * PARTS` bytes in memory."""

Item = TypeVar("Item")


def run_all(
    items: Sequence[Item], move: Callable[[Item, Advance], None], *, total: int, verb: str, outcome: Outcome, progress: Progress
) -> None:
    """Call `move` for every item, a few at a time. After a first exception, what has not begun is left out, and it is raised.

    Args:
        items: what is to be moved.
        move: moves one item and reports its bytes.
        total: bytes of all items.
        verb: what is done, such as `push`.
        outcome: what has been done in the end.
        progress: is told about all items as one part, from one thread at a time.
    """
    if not items:
        return
    lock, stop = threading.Lock(), threading.Event()
    state = Transfer(plural(len(items), "file"), total, 0, verb)

    def advance(count: int) -> None:
        nonlocal state
        if stop.is_set():
            raise InterruptedError("another transfer failed")  # ends the transfer of a large file, too
        with lock:
            state = replace(state, done=min(state.done + count, total))
            progress(state)

    def run(item: Item) -> None:
        if not stop.is_set():
            try:
                move(item, advance)
            except BaseException:
                stop.set()
                raise

    progress(state)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tfbundle-transfer") as pool:
        futures = [pool.submit(run, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop.set()  # Ctrl-C, too: files that have begun end, others do not begin
            raise
    failed = [future for future in futures if future.exception() is not None]
    if failed:
        raise _first(failed)
    progress(replace(state, done=total, outcome=outcome))


def _first(failed: Sequence[Future[None]]) -> BaseException:
    """Return the exception that stopped the others, and not what they made of being stopped."""
    errors = [error for future in failed if (error := future.exception()) is not None]
    return next((error for error in errors if not any(isinstance(each, InterruptedError) for each in chain_of(error))), errors[0])
