"""Waiting for models, by the rules of core/servable_state_monitor.cc."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from serving.server.models.states import ManagerState, ServableState, StateBoard, wait_until


def state(version: int, reached: ManagerState, name: str = "m") -> ServableState:
    return ServableState(name, version, reached)


def test_the_highest_version_that_got_anywhere_counts() -> None:
    board = StateBoard()
    for one in (state(1, ManagerState.AVAILABLE), state(2, ManagerState.END), state(3, ManagerState.LOADING)):
        board.publish(one)
    assert board.wait_for_models(["m"], stopped=lambda: False) == [state(2, ManagerState.END)]


def test_what_is_published_after_the_last_model_got_there_does_not_count() -> None:
    board = StateBoard()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(board.wait_for_models, ["m", "n"], stopped=lambda: False)
        assert wait_until(lambda: bool(board._waits), seconds=10)
        board.publish(state(1, ManagerState.AVAILABLE))
        board.publish(state(2, ManagerState.END))
        assert not waiting.done()
        board.publish(state(2, ManagerState.AVAILABLE))
        board.publish(state(7, ManagerState.AVAILABLE, "n"))
        board.publish(state(3, ManagerState.END))
        assert waiting.result(10) == [state(2, ManagerState.AVAILABLE), state(7, ManagerState.AVAILABLE, "n")]


def test_who_gives_up_has_what_was_reached() -> None:
    board = StateBoard()
    board.publish(state(1, ManagerState.AVAILABLE))
    assert board.wait_for_models(["m", "n"], stopped=lambda: True) == [state(1, ManagerState.AVAILABLE)]
    assert board.wait_for_models([], stopped=lambda: False) == []
