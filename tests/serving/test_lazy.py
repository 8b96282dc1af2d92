"""Public names that are imported on first use."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from serving.lazy import lazy_attributes, once


def test_a_name_is_imported_on_first_use_and_then_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("parcel"), ModuleType("parcel.inner")
    package.__path__ = []
    module.Thing = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parcel", package)
    monkeypatch.setitem(sys.modules, "parcel.inner", module)
    load = lazy_attributes("parcel", {"Thing": "inner"})
    assert "Thing" not in vars(package)
    assert load("Thing") is module.Thing
    assert package.Thing is module.Thing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'parcel' has no attribute 'Other'"):
        lazy_attributes("parcel", {"Thing": "inner"})("Other")


def test_threads_that_come_at_once_get_the_same_object() -> None:
    gate, calls = threading.Barrier(16), []

    @once
    def made(name: str = "") -> object:
        calls.append(name)
        time.sleep(0.01)
        return object()

    def first(_: int) -> object:
        gate.wait()
        return made("a")

    with ThreadPoolExecutor(16) as threads:
        objects = set(threads.map(first, range(16)))
    assert (len(objects), calls) == (1, ["a"])
    assert made("b") not in objects
    assert made.__name__ == "made"  # type: ignore[attr-defined]
    made.cache_clear()
    assert made("a") not in objects


def test_a_failure_is_not_kept() -> None:
    answers = iter([ZeroDivisionError(), 5])

    @once
    def made() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ZeroDivisionError):
        made()
    assert (made(), made()) == (5, 5)
