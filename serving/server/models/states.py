"""States of versions, and the board where they are published and waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from serving.protocol.status import StatusError


class ManagerState(IntEnum):
    """State of a version; the numbers are those in ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class ServableState:
    """A state that a version reached.

    Attributes:
        name: the model's name.
        version: the version's number.
        state: the state.
        error: why the version ended, or None.
    """

    name: str
    version: int
    state: ManagerState
    error: StatusError | None = None

    @property
    def servable(self) -> str:
        """The version's name in the server's messages."""
        return servable_name(self.name, self.version)


def servable_name(name: str, version: int) -> str:
    """Return a version's name in the server's messages."""
    return f"{{name: {name} version: {version}}}"


class StateBoard:
    """The last state of every version since the start. An unloaded version remains with the state END."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, ServableState]] = {}
        self._waits: list[_Wait] = []
        self._listeners: list[Callable[[ServableState], None]] = []

    def publish(self, state: ServableState) -> None:
        """Set a version's state and call the listeners."""
        with self._changed:
            self._states.setdefault(state.name, {})[state.version] = state
            for wait in self._waits:
                wait.update(self._states)
            listeners = tuple(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener(state)

    def subscribe(self, listener: Callable[[ServableState], None]) -> Callable[[], None]:
        """Call `listener` with every state that is published from now on.

        Returns:
            A function that ends the subscription.
        """
        with self._changed:
            self._listeners.append(listener)

        def end() -> None:
            with self._changed:
                self._listeners.remove(listener)

        return end

    def versions(self, name: str) -> list[ServableState]:
        """Return the states of a model's versions, newest version first; empty for an unknown model."""
        with self._changed:
            return [state for _, state in sorted(self._states.get(name, {}).items(), reverse=True)]

    def all(self) -> list[ServableState]:
        """Return the states of all versions of all models."""
        with self._changed:
            return [state for versions in self._states.values() for state in versions.values()]

    def get(self, name: str, version: int) -> ServableState | None:
        """Return the state of a version; None if it is unknown."""
        with self._changed:
            return self._states.get(name, {}).get(version)

    def is_available(self, name: str, version: int) -> bool:
        """Return whether a version is available."""
        state = self.get(name, version)
        return state is not None and state.state is ManagerState.AVAILABLE

    def wait_for_models(self, names: Iterable[str], *, stopped: Callable[[], bool]) -> list[ServableState]:
        """Wait until every model has a version that is available or has ended.

        If several versions of a model have got there, the highest counts, in its state at the moment when the last model gets
        there (core/servable_state_monitor.cc).

        Args:
            names: the models.
            stopped: called every 0.1 s; the wait ends when it returns True.

        Returns:
            The states reached, one per model, sorted by the model's name.
        """
        with self._changed:
            wait = _Wait(sorted(set(names)))
            wait.update(self._states)
            self._waits.append(wait)
            while not wait.done and not stopped():
                self._changed.wait(0.1)
            self._waits.remove(wait)
            return wait.reached


class _Wait:
    """A wait for models. It is updated at each publication, as more states may follow before the waiting thread wakes up."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.reached: list[ServableState] = []

    @property
    def done(self) -> bool:
        return len(self.reached) == len(self._names)

    def update(self, states: Mapping[str, Mapping[int, ServableState]]) -> None:
        if not self.done:
            outcomes = (_outcome(states.get(name, {})) for name in self._names)
            self.reached = [state for state in outcomes if state is not None]


def _outcome(versions: Mapping[int, ServableState]) -> ServableState | None:
    for _, state in sorted(versions.items(), reverse=True):
        if state.state in (ManagerState.AVAILABLE, ManagerState.END):
            return state
    return None


def wait_until(condition: Callable[[], bool], *, seconds: float, every: float = 0.01) -> bool:
    """Wait until `condition` returns True.

    Args:
        condition: called again and again.
        seconds: longest wait.
        every: seconds between two calls.

    Returns:
        Whether the condition became true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
