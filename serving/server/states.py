"""States of servable versions, and the board on which they are published and waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from serving.protocol.status import StatusError


class ManagerState(IntEnum):
    """State of a version; the numbers are those of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class ServableState:
    """Where one version stands.

    Attributes:
        error: why it ended, or None.
    """

    name: str
    version: int
    state: ManagerState
    error: StatusError | None = None

    @property
    def servable(self) -> str:
        """The version as the server's messages name it."""
        return f"{{name: {self.name} version: {self.version}}}"


class StateBoard:
    """The last state of every version there ever was: a version that was unloaded stays listed as END."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, ServableState]] = {}
        self._listeners: list[Callable[[ServableState], None]] = []

    def publish(self, state: ServableState) -> None:
        with self._changed:
            self._states.setdefault(state.name, {})[state.version] = state
            listeners = tuple(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener(state)

    def subscribe(self, listener: Callable[[ServableState], None]) -> Callable[[], None]:
        """Call `listener` with every state published from now on; the function returned ends that."""
        with self._changed:
            self._listeners.append(listener)

        def end() -> None:
            with self._changed:
                self._listeners.remove(listener)

        return end

    def versions(self, name: str) -> list[ServableState]:
        """States of a model's versions, newest version first; empty for a model never heard of."""
        with self._changed:
            return [state for _, state in sorted(self._states.get(name, {}).items(), reverse=True)]

    def get(self, name: str, version: int) -> ServableState | None:
        with self._changed:
            return self._states.get(name, {}).get(version)

    def is_available(self, name: str, version: int) -> bool:
        state = self.get(name, version)
        return state is not None and state.state is ManagerState.AVAILABLE

    def wait_for_models(self, names: Iterable[str], *, stopped: Callable[[], bool]) -> list[ServableState]:
        """Wait until every model has a version that is available or has ended.

        Args:
            stopped: looked at every now and then; True gives up.

        Returns:
            The states reached, one a model, by name.
        """
        awaited = sorted(set(names))
        with self._changed:
            while True:
                reached = [state for name in awaited if (state := self._outcome(name)) is not None]
                if len(reached) == len(awaited) or stopped():
                    return reached
                self._changed.wait(0.1)

    def _outcome(self, name: str) -> ServableState | None:
        states = self._states.get(name, {}).values()
        for wanted in (ManagerState.AVAILABLE, ManagerState.END):
            for state in states:
                if state.state is wanted:
                    return state
        return None


def wait_until(condition: Callable[[], bool], *, seconds: float, every: float = 0.01) -> bool:
    """Wait until `condition` holds; whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(every)
    return True
