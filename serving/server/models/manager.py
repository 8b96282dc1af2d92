"""The life cycle of versions: loading, serving, draining and unloading, so that a model always has a version that serves.

The order of steps is that of core/aspired_versions_manager.cc with the availability preserving policy: a new version is
loaded while the old one serves, and the old one is unloaded only when an aspired version serves. A version that fails to load
ends with its error and leaves the old one serving. Two improvements on the real server: the manager waits for a folder that
is still being written, and loads a failed version again when its folder has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from serving.protocol.status import Code, RefusedModelError, StatusError, not_found
from serving.server.models import memory
from serving.server.models.folders import Fingerprint, manifest_state, settled
from serving.server.models.states import ManagerState, ServableState, StateBoard, servable_name
from serving.server.servables.protocol import Servable

log = logging.getLogger(__name__)


_MOST_LOADS = 3
"""Most loads in one attempt: a folder that changes while it is loaded is loaded again, but not for ever."""

Loader = Callable[[str, int, str], Servable]
"""Loads a version, given the model's name, the version and its folder. Raises StatusError."""


class _Phase(Enum):
    NEW = auto()
    LOADING = auto()
    READY = auto()
    UNLOADING = auto()
    ENDED = auto()


@dataclass
class _Version:
    """A version on its way from NEW to ENDED.

    Attributes:
        aspired: whether it should be served.
        users: requests that use it.
        failures: failed loads since it was aspired or its folder changed.
        retry_at: time of the monotonic clock at which a failed load is repeated; None if none is waiting.
        error: why the last load failed.
        tried: fingerprint of the folder at the last load.
        manifest: the state of the bundle's bundle.json at the last load.
        cancelled: set when it should no longer be loaded.
    """

    name: str
    version: int
    path: str
    aspired: bool = True
    phase: _Phase = _Phase.NEW
    servable: Servable | None = None
    users: int = 0
    failures: int = 0
    retry_at: float | None = None
    error: StatusError | None = None
    tried: Fingerprint | None = None
    manifest: tuple[int, int] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Manager:
    """Loads and unloads versions in threads of its own.

    Args:
        load: loads a version's folder.
        retries: how often a failed load is repeated. As in util/retrier.cc, the number of attempts is this plus 1 as an
            unsigned number of 32 bits: -1 gives one attempt, and smaller numbers practically no end.
        retry_seconds: wait before a load is repeated.
        settle_seconds: how long a folder must be unchanged before it is loaded.
        threads: versions (of different models) that are loaded at once.
    """

    def __init__(
        self, load: Loader, *, retries: int, retry_seconds: float, settle_seconds: float, threads: int
    ) -> None:
        self.board = StateBoard()
        self._load_version = load
        self._most_attempts = max((retries + 1) % 2**32, 1)
        self._retry_seconds = retry_seconds
        self._settle_seconds = settle_seconds
        self._versions: dict[str, dict[int, _Version]] = {}
        self._pending: dict[str, dict[int, str]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._abandons_loads = False
        self._pool = ThreadPoolExecutor(max(threads, 1), thread_name_prefix="servable")
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)

    def start(self) -> None:
        """Start the manager's thread."""
        self._thread.start()

    def stop(self, *, abandon_loads: bool = False) -> bool:
        """Unload everything after the running requests end. New requests find no servable.

        Args:
            abandon_loads: do not wait for loads, which nothing can interrupt. Their threads keep the interpreter from ending.

        Returns:
            Whether no load is left running.
        """
        with self._changed:
            self._stopping = True
            self._abandons_loads = abandon_loads
            self._pending = {name: {} for name in self._versions}
            for version in self._all():
                version.cancelled.set()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        left = bool(self._all())
        self._pool.shutdown(wait=not left)
        return not left

    def aspire(self, name: str, versions: dict[int, str]) -> None:
        """Serve exactly these versions (version -> folder) of a model as soon as possible.

        A version that failed to load is not loaded again before its folder, or the bundle.json that records it, changes.
        """
        changed = self._failed_and_changed(name)
        with self._changed:
            for version in changed:
                if version.phase is _Phase.ENDED:
                    log.info("%s: its folder has changed; loading it again.", _named(version))
                    version.phase, version.failures = _Phase.NEW, 0
            if not self._stopping:
                self._pending[name] = versions
                # At once: a model that is removed and soon added again has to be unloaded and loaded, as others wait for both.
                self._take_pending()
                self._changed.notify_all()

    def _failed_and_changed(self, name: str) -> list[_Version]:
        """Return the versions that failed to load and whose folders have changed since."""
        with self._changed:
            known = self._versions.get(name, {}).values()
            failed = [v for v in known if v.aspired and v.phase is _Phase.ENDED and v.tried is not None]
        return [v for v in failed if Fingerprint.of(v.path) != v.tried or manifest_state(v.path) != v.manifest]

    def wait_for_first_attempts(self) -> None:
        """Wait until every aspired version serves or has failed once."""
        with self._changed:
            while not self._stopping and any(_is_first_attempt(version) for version in self._all()):
                self._changed.wait(0.1)

    @contextmanager
    def servable(self, name: str, version: int | None) -> Iterator[tuple[int, Servable]]:
        """Hold a version that serves, so that it is not unloaded within the block.

        Args:
            name: the model's name.
            version: the version; None for the newest one that serves.

        Yields:
            The version's number and its servable.

        Raises:
            StatusError: NOT_FOUND: no such version serves.
        """
        held = self._acquire(name, version)
        try:
            assert held.servable is not None
            yield held.version, held.servable
        finally:
            self._release(held)

    def _acquire(self, name: str, version: int | None) -> _Version:
        with self._changed:
            ready = [v for v in self._versions.get(name, {}).values() if v.phase is _Phase.READY]
            candidates = [v for v in ready if version is None or v.version == version]
            if not candidates:
                request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {request}")
            held = max(candidates, key=lambda v: v.version)
            held.users += 1
            return held

    def _release(self, held: _Version) -> None:
        with self._changed:
            held.users -= 1
            # Only `_drain` waits for this; the manager's thread must not wake up at every request.
            if not held.users and held.phase is _Phase.UNLOADING:
                self._changed.notify_all()

    def _all(self) -> list[_Version]:
        return [version for versions in self._versions.values() for version in versions.values()]

    def _unfinished(self) -> list[_Version]:
        """Return the versions that have to end before the manager may stop."""
        return [v for v in self._all() if not (self._abandons_loads and v.phase is _Phase.LOADING)]

    def _run(self) -> None:
        with self._changed:
            while not (self._stopping and not self._pending and not self._unfinished()):
                self._forget_ended()
                self._take_pending()
                self._retry_loads()
                acted = [self._take_step(list(versions.values())) for versions in self._versions.values()]
                if not any(acted):
                    self._changed.wait(0.1)

    def _forget_ended(self) -> None:
        for versions in self._versions.values():
            for version in list(versions.values()):
                if not version.aspired and version.phase in (_Phase.NEW, _Phase.ENDED):
                    del versions[version.version]

    def _take_pending(self) -> None:
        """Take over the aspired versions. A model waits while one of them is still being unloaded from an earlier time."""
        for name, aspired in list(self._pending.items()):
            known = self._versions.setdefault(name, {})
            if any(not known[version].aspired for version in aspired if version in known):
                continue
            del self._pending[name]
            for version in known.values():
                if version.version not in aspired:
                    version.aspired = False
                    version.cancelled.set()
            for number, path in aspired.items():
                if number not in known:
                    known[number] = _Version(name, number, path)
                    self._publish(known[number], ManagerState.START)

    def _take_step(self, versions: list[_Version]) -> bool:
        """Load or unload at most one of a model's versions (core/availability_preserving_policy.cc). Return whether one was."""
        ready = [v for v in versions if v.phase is _Phase.READY]
        obsolete = [v for v in ready if not v.aspired]
        aspired = [v for v in versions if v.aspired]
        serves = any(v.aspired for v in ready)
        if obsolete and (not aspired or serves or len(obsolete) > 1):
            self._unload(min(obsolete, key=lambda v: v.version))
            return True
        new = [v for v in aspired if v.phase is _Phase.NEW]
        if new and not any(v.phase is _Phase.LOADING for v in versions):
            self._load(max(new, key=lambda v: v.version))
            return True
        return False

    def _load(self, version: _Version) -> None:
        version.phase = _Phase.LOADING
        self._publish(version, ManagerState.LOADING)
        self._attempt(version)

    def _attempt(self, version: _Version) -> None:
        future = self._pool.submit(self._load_complete, version)
        future.add_done_callback(lambda done: self._finish_attempt(version, done))

    def _retry_loads(self) -> None:
        """Repeat the failed loads whose wait is over. They do not wait in the pool, whose threads other models need."""
        now = time.monotonic()
        for version in self._all():
            if version.retry_at is None:
                continue
            if version.cancelled.is_set():
                version.retry_at = None
                self._end_failed(version)
            elif now >= version.retry_at:
                version.retry_at = None
                self._attempt(version)

    def _load_complete(self, version: _Version) -> Servable:
        """Load a folder once it has stopped changing."""
        for loads_left in reversed(range(_MOST_LOADS)):
            version.manifest = manifest_state(version.path)
            version.tried = settled(version.path, self._settle_seconds, version.cancelled)
            servable = self._load_version(version.name, version.version, version.path)
            if not loads_left or version.cancelled.is_set() or Fingerprint.of(version.path) == version.tried:
                return servable
            log.warning("%s: its folder changed while it was loaded; loading it again.", _named(version))
            servable.close()
        raise AssertionError("the last load returns or raises")

    def _finish_attempt(self, version: _Version, done: Future[Servable]) -> None:
        failure = done.exception()
        with self._changed:
            if failure is None:
                version.servable = done.result()
                version.phase = _Phase.READY
                self._publish(version, ManagerState.AVAILABLE)
            else:
                self._finish_failed(version, failure)
            self._changed.notify_all()

    def _finish_failed(self, version: _Version, failure: BaseException) -> None:
        version.failures += 1
        version.error = failure if isinstance(failure, StatusError) else _internal(failure)
        if version.error is failure:
            log.warning("Loading servable: %s failed: %s (%s)", _named(version), failure, version.path)
            is_final = isinstance(failure, RefusedModelError) or version.failures >= self._most_attempts
            if not is_final and not version.cancelled.is_set():
                version.retry_at = time.monotonic() + self._retry_seconds
                return
        self._end_failed(version)

    def _end_failed(self, version: _Version) -> None:
        version.phase = _Phase.ENDED
        self._publish(version, ManagerState.END, version.error)
        log.error("Servable %s cannot be loaded: %s", _named(version), version.error)

    def _unload(self, version: _Version) -> None:
        version.phase = _Phase.UNLOADING
        self._publish(version, ManagerState.UNLOADING)
        self._pool.submit(self._drain, version)

    def _drain(self, version: _Version) -> None:
        with self._changed:
            while version.users:
                self._changed.wait()
        assert version.servable is not None
        try:
            version.servable.close()
        finally:
            version.servable = None
            memory.release()
            with self._changed:
                version.phase = _Phase.ENDED
                self._publish(version, ManagerState.END)
                self._changed.notify_all()

    def _publish(self, version: _Version, state: ManagerState, error: StatusError | None = None) -> None:
        self.board.publish(ServableState(version.name, version.version, state, error))
        log.info("%s: %s", _named(version), state.name)


def _is_first_attempt(version: _Version) -> bool:
    return version.aspired and version.phase in (_Phase.NEW, _Phase.LOADING) and not version.failures


def _named(version: _Version) -> str:
    return servable_name(version.name, version.version)


def _internal(failure: BaseException) -> StatusError:
    return StatusError(Code.INTERNAL, f"{type(failure).__name__}: {failure}")
