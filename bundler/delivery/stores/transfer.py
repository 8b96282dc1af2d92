"""Moving many files at once, with one figure for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bundler.delivery.stores.store import Advance

AT_ONCE = 4
"""Files that are moved at the same time; each has at most `PART_BYTES * PARTS` bytes in memory."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done (`download`, `upload`, `check`), and the bytes that are done and that there are in all."""

Item = TypeVar("Item")


def silent(title: str, done: int, total: int) -> None:
    """Show no progress."""


def run_all(items: Sequence[Item], move: Callable[[Item, Advance], None], *, title: str, total: int, progress: Progress) -> None:
    """Call `move` for every item, a few at a time. After a first exception, what has not begun is left out, and it is raised.

    Args:
        items: what is to be moved.
        move: moves one item and reports its bytes.
        title: what is being done.
        total: bytes of all items.
        progress: called as bytes are reported, from one thread at a time.
    """
    lock, done, stop = threading.Lock(), 0, threading.Event()

    def advance(count: int) -> None:
        nonlocal done
        if stop.is_set():
            raise InterruptedError("another transfer failed")  # ends the transfer of a large file, too
        with lock:
            done += count
            progress(title, min(done, total), total)

    def run(item: Item) -> None:
        if not stop.is_set():
            try:
                move(item, advance)
            except BaseException:
                stop.set()
                raise

    if not items:
        return
    progress(title, 0, total)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tfbundle-transfer") as pool:
        futures = [pool.submit(run, item) for item in items]
        try:
            _raise_first(future.result for future in futures)
        except BaseException:
            stop.set()  # Ctrl-C, too: files that have begun end, others do not begin
            raise


def _raise_first(results: Iterable[Callable[[], None]]) -> None:
    for result in results:
        result()
