from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bundler.delivery.oci.ahead import ahead


def test_values_come_in_order_and_further_looks_end() -> None:
    with ahead(iter(range(100)), depth=2) as values:
        assert list(values) == list(range(100))
        assert list(values) == []  # also after the end


def test_error_is_raised_after_the_values_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("cut")

    with ahead(broken()) as values:
        assert next(values) == 1
        with pytest.raises(OSError, match="cut"):
            next(values)


def test_leaving_early_ends_the_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    with ahead(endless(), depth=2) as values:
        assert next(values) == 0
        (thread,) = (each for each in threading.enumerate() if each.name == "ahead")
    thread.join(20)
    assert not thread.is_alive()


def test_interruption_does_not_wait_for_the_thread() -> None:
    held = threading.Event()

    def stalled() -> Iterator[int]:
        yield 0
        held.wait(60)

    with pytest.raises(KeyboardInterrupt), ahead(stalled()) as values:
        assert next(values) == 0
        raise KeyboardInterrupt
    assert any(each.name == "ahead" for each in threading.enumerate())
    held.set()
