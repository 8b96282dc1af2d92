"""What an unloaded version leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from serving.server.models import memory


class Link:
    """An object that refers to itself, as those of a graph refer to each other."""

    def __init__(self) -> None:
        self.other = self


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


def test_a_process_that_only_serves_collects_at_once(uncollected: None) -> None:
    memory.freeze()
    left = weakref.ref(Link())
    memory.release()
    assert left() is None


def test_another_process_is_not_stalled_by_a_collection(uncollected: None) -> None:
    left = weakref.ref(Link())
    memory.release()
    assert left() is not None
