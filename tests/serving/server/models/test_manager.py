from __future__ import annotations

import pytest

from serving.protocol.status import invalid_argument
from serving.server.models.manager import Manager
from serving.server.models.states import ManagerState, wait_until
from serving.server.servables.protocol import Servable


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (2, 3), (-1, 1)])
def test_load_is_repeated_as_often_as_in_the_real_server(retries: int, attempts: int) -> None:
    """In util/retrier.cc, the number of retries is unsigned and 1 is added to it."""
    tried: list[str] = []

    def load(name: str, version: int, path: str) -> Servable:
        tried.append(path)
        raise invalid_argument("broken")

    manager = Manager(load, retries=retries, retry_seconds=0, settle_seconds=0, threads=1)
    manager.start()
    try:
        manager.aspire("m", {1: "/nowhere"})
        assert wait_until(lambda: _ended(manager), seconds=20)
        state = manager.board.get("m", 1)
        assert str(state and state.error) == "INVALID_ARGUMENT: broken"
    finally:
        manager.stop()
    assert len(tried) == attempts


def _ended(manager: Manager) -> bool:
    state = manager.board.get("m", 1)
    return state is not None and state.state is ManagerState.END
