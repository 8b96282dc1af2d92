"""Garbage is collected where much memory may be free afterwards, and seldom otherwise."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from bundler.process import garbage


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_left", 0)
    thresholds = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*thresholds)


class Node:
    """Refers to itself, so that only a collection frees it."""

    alive = 0

    def __init__(self) -> None:
        self.me = self
        Node.alive += 1

    def __del__(self) -> None:
        Node.alive -= 1


def test_small_models_are_collected_together_and_a_large_one_at_once() -> None:
    gc.collect()
    Node()
    assert [garbage.collect_after(garbage.WORTHWHILE // 4) for _ in range(3)] == [False] * 3
    assert garbage.collect_after(garbage.WORTHWHILE // 4)
    assert Node.alive == 0
    assert not garbage.collect_after(garbage.WORTHWHILE - 1)
    assert garbage.collect_after(1)
    assert garbage.collect_after(garbage.WORTHWHILE)


def test_a_build_in_the_users_process_restores_the_rule_also_after_an_error() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), garbage.collected_seldom():
        assert gc.get_threshold()[0] > before[0]
        raise KeyError
    assert gc.get_threshold() == before


def test_what_a_model_leaves_behind_is_collected_before_the_next_one() -> None:
    for _ in range(2):
        Node()
        garbage.collect_between_models()
        assert Node.alive == 0
        assert gc.get_freeze_count() > 0
