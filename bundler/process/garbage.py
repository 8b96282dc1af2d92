"""Garbage collections where they are worth their time.

A full collection visits every object of the process, a million once torch and TensorFlow are imported. Python's own rule makes
seven of them in the build of one small model: 3 of its 13 seconds.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = (50_000, 20, 20)
WORTHWHILE = 256 * 2**20
"""Bytes of models from which on a collection is worth its time."""

_left = 0


def collect_seldom() -> None:
    """Collect garbage seldom in this process: for one that builds and ends. `collect_after` collects what holds weights."""
    gc.set_threshold(*_SELDOM)


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Collect garbage seldom during a build in a process that may go on: the user's, or one that serves afterwards."""
    thresholds = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def collect_after(size: int) -> bool:
    """Collect garbage if models that are no longer used may hold much memory: their objects refer to each other.

    Args:
        size: bytes of the weights that have just been given up.

    Returns:
        Whether it was done: the sizes since the last time reach WORTHWHILE.
    """
    global _left
    _left += size
    if _left < WORTHWHILE:
        return False
    _left = 0
    gc.collect()
    return True


def collect_between_models() -> None:
    """Collect what one model has left behind, in a process that builds one after the other.

    What is left after the first one, mostly imported packages, is not visited again.
    """
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()
