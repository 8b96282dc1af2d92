from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bundler.delivery.oci.ahead import ahead


def test_values_come_in_order_and_further_looks_end() -> None:
    with ahead(iter(range(100)), depth=2) as values:
        assert list(values) == list(range(100))
        assert list(values) == []


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

    before = threading.active_count()
    with ahead(endless(), depth=2) as values:
        assert next(values) == 0
    assert threading.active_count() == before
