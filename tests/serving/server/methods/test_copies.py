"""Large messages are copied one at a time, and small ones pass."""

from __future__ import annotations

import threading

import pytest

from serving.server.methods.copies import LARGE, one_at_a_time

SECONDS = 10.0


def test_large_message_waits_for_another_one() -> None:
    began, ended = threading.Event(), threading.Event()

    def copy() -> None:
        began.set()
        with one_at_a_time(LARGE):
            ended.set()

    with one_at_a_time(LARGE):
        other = threading.Thread(target=copy)
        other.start()
        assert began.wait(SECONDS)
        assert not ended.wait(0.2)
    assert ended.wait(SECONDS)
    other.join()


def test_small_message_waits_for_none() -> None:
    with one_at_a_time(LARGE), one_at_a_time(LARGE - 1):
        pass


def test_failure_ends_the_turn() -> None:
    with pytest.raises(ValueError, match="damaged"), one_at_a_time(LARGE):
        raise ValueError("damaged")
    with one_at_a_time(LARGE):
        pass
