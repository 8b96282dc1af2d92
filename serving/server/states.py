"""States of servable versions, and the board on which they are published and waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
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
        self._waits: list[_Wait] = []
        self._listeners: list[Callable[[ServableState], None]] = []

    def publish(self, state: ServableState) -> None:
        with self._changed:
            self._states.setdefault(state.name, {})[state.version] = state
            for wait in self._waits:
                wait.look(self._states)
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
        """Wait until every model has a version that is available or has ended. Of several versions that have, the highest
        counts, as they stand when the last model gets there (core/servable_state_monitor.cc).

        Args:
            stopped: looked at every now and then; True gives up.

        Returns:
            The states reached, one a model, by name.
        """
        with self._changed:
            wait = _Wait(sorted(set(names)))
            wait.look(self._states)
            self._waits.append(wait)
            while not wait.over and not stopped():
                self._changed.wait(0.1)
            self._waits.remove(wait)
            return wait.reached


class _Wait:
    """Models waited for. Looks when a state is published: whoever waits wakes later, when there may be further ones."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.reached: list[ServableState] = []

    @property
    def over(self) -> bool:
        return len(self.reached) == len(self._names)

    def look(self, states: Mapping[str, Mapping[int, ServableState]]) -> None:
        if not self.over:
            outcomes = (_outcome(states.get(name, {})) for name in self._names)
            self.reached = [state for state in outcomes if state is not None]


def _outcome(versions: Mapping[int, ServableState]) -> ServableState | None:
    for _, state in sorted(versions.items(), reverse=True):
        if state.state in (ManagerState.AVAILABLE, ManagerState.END):
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
