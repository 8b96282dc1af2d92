"""Assertions on the memory of Python's objects and NumPy's arrays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def assert_allocates_less_than(limit: int) -> Iterator[None]:
    """Assert that the block never holds more than `limit` bytes that it has allocated."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes"
