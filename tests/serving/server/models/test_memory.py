"""Garbage collection after a version is unloaded."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from serving.server.models import memory


class Link:
    """An object in a reference cycle, like the objects of a graph."""

    def __init__(self) -> None:
        self.other = self


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


def test_process_that_only_serves_collects_at_once(uncollected: None) -> None:
    memory.freeze()
    link = weakref.ref(Link())
    memory.release()
    assert link() is None


def test_other_process_is_not_stalled_by_a_collection(uncollected: None) -> None:
    link = weakref.ref(Link())
    memory.release()
    assert link() is not None
