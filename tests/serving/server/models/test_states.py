"""Waiting for models, with the rules of core/servable_state_monitor.cc."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from serving.server.models.states import ManagerState, ServableState, StateBoard, wait_until


def state(version: int, reached: ManagerState, name: str = "m") -> ServableState:
    return ServableState(name, version, reached)


def test_highest_version_that_is_available_or_ended_counts() -> None:
    board = StateBoard()
    for published in (state(1, ManagerState.AVAILABLE), state(2, ManagerState.END), state(3, ManagerState.LOADING)):
        board.publish(published)
    assert board.wait_for_models(["m"], stopped=lambda: False) == [state(2, ManagerState.END)]


def test_states_published_after_the_wait_is_over_do_not_count() -> None:
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


def test_stopped_wait_returns_the_states_reached() -> None:
    board = StateBoard()
    board.publish(state(1, ManagerState.AVAILABLE))
    assert board.wait_for_models(["m", "n"], stopped=lambda: True) == [state(1, ManagerState.AVAILABLE)]
    assert board.wait_for_models([], stopped=lambda: False) == []
