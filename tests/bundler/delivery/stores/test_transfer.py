from __future__ import annotations

import threading

import pytest

from bundler.delivery.stores.store import Advance
from bundler.delivery.stores.transfer import AT_ONCE, run_all
from bundler.delivery.transfers import Transfer


def test_all_items_are_told_as_one_part() -> None:
    events: list[Transfer] = []

    def move(item: int, advance: Advance) -> None:
        advance(item)

    run_all([1, 2, 3], move, total=6, verb="push", outcome="pushed", progress=events.append)
    assert [event.done for event in events[1:-1]] == sorted(event.done for event in events[1:-1])
    assert (events[0].done, events[-1].done, events[-1].outcome, events[-1].name) == (0, 6, "pushed", "3 files")


def test_nothing_to_move_is_not_told() -> None:
    events: list[Transfer] = []
    run_all([], lambda item, advance: None, total=0, verb="push", outcome="pushed", progress=events.append)
    assert events == []


def test_the_first_failure_stops_the_others_and_is_the_one_raised() -> None:
    began, failed = threading.Barrier(2, timeout=10), threading.Event()
    moved: list[int] = []

    def move(item: int, advance: Advance) -> None:
        if item == 0:  # a large file, in the middle of which the other one fails
            began.wait()
            assert failed.wait(10)
            while True:
                advance(1)
        if item == 1:
            began.wait()
            failed.set()
            raise ConnectionError("lost")
        moved.append(item)

    with pytest.raises(ConnectionError, match="lost"):
        run_all([0, 1], move, total=100, verb="push", outcome="pushed", progress=lambda event: None)


def test_only_a_few_items_are_moved_at_once() -> None:
    lock, active, most = threading.Lock(), 0, 0

    def move(item: int, advance: Advance) -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        with lock:
            active -= 1

    run_all(range(50), move, total=0, verb="push", outcome="pushed", progress=lambda event: None)
    assert 1 <= most <= AT_ONCE
