"""The life of versions: loading, serving, draining and unloading, so that a model always has one to serve.

The order of things is that of core/aspired_versions_manager.cc with the availability preserving policy: a new version is
loaded while the old one serves, and the old one goes only when a wanted one serves. A version that fails to load ends with
its error and leaves the old one serving. Two things are better than there: a folder that is still being written is waited for,
and a version that failed is tried again when its folder has changed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from serving.protocol.status import Code, StatusError, not_found
from serving.server import memory
from serving.server.folders import Fingerprint, settled
from serving.server.states import ManagerState, ServableState, StateBoard

log = logging.getLogger(__name__)


class Loaded(Protocol):
    """What a loader makes: a version that can be run and freed."""

    def close(self) -> None: ...


_OVERTAKEN = 3
"""Loads of one attempt: a folder that changes while it is loaded is loaded anew, but not for ever."""

Loader = Callable[[str, int, str], Loaded]
"""Loads a version: model name, version, folder. Raises StatusError."""


class _Phase(Enum):
    NEW = auto()
    LOADING = auto()
    READY = auto()
    UNLOADING = auto()
    ENDED = auto()


@dataclass
class _Version:
    """Attributes:
    tried: the folder as it was at the last attempt to load it.
    """

    name: str
    version: int
    path: str
    wanted: bool = True
    phase: _Phase = _Phase.NEW
    loaded: Loaded | None = None
    users: int = 0
    failures: int = 0
    tried: Fingerprint | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Manager:
    """Loads and unloads versions in threads of its own.

    Args:
        load: makes a servable of a version's folder.
        retries, retry_seconds: how often, and after what wait, a failed load is tried again. A negative number is one of
            32 bits without a sign, to which 1 is added, as in util/retrier.cc: -1 is a single attempt, less are without end.
        settle_seconds: how long a folder has to be unchanged before it is loaded.
        threads: versions that are loaded at once (of different models).
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
        self._pool = ThreadPoolExecutor(max(threads, 1), thread_name_prefix="servable")
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Unload everything, after the requests that run; further ones find no servable."""
        with self._changed:
            self._stopping = True
            self._pending = {name: {} for name in self._versions}
            for version in self._all():
                version.cancelled.set()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown()

    def aspire(self, name: str, versions: dict[int, str]) -> None:
        """Serve exactly these versions (version -> folder) of a model, as soon as can be.

        One that failed to load stays as it is until its folder changes.
        """
        mended = self._mended(name)
        with self._changed:
            for version in mended:
                if version.phase is _Phase.ENDED:
                    log.info("%s: its folder has changed, it is loaded again.", _named(version))
                    version.phase, version.failures = _Phase.NEW, 0
            if not self._stopping:
                self._pending[name] = versions
                self._changed.notify_all()

    def _mended(self, name: str) -> list[_Version]:
        """Versions that failed to load from a folder that has changed since."""
        with self._changed:
            known = self._versions.get(name, {}).values()
            failed = [v for v in known if v.wanted and v.phase is _Phase.ENDED and v.tried is not None]
        return [version for version in failed if Fingerprint.of(version.path) != version.tried]

    def wait_for_first_attempts(self) -> None:
        """Wait until every version that is wanted serves or has failed once, even if it is tried again."""
        with self._changed:
            while not self._stopping and any(_is_first_attempt(version) for version in self._all()):
                self._changed.wait(0.1)

    @contextmanager
    def servable(self, name: str, version: int | None) -> Iterator[tuple[int, Loaded]]:
        """A version that serves, kept from unloading while it is used; the newest one for None.

        Raises:
            StatusError: NOT_FOUND.
        """
        held = self._acquire(name, version)
        try:
            assert held.loaded is not None
            yield held.version, held.loaded
        finally:
            self._release(held)

    def _acquire(self, name: str, version: int | None) -> _Version:
        with self._changed:
            ready = [v for v in self._versions.get(name, {}).values() if v.phase is _Phase.READY]
            fitting = [v for v in ready if version is None or v.version == version]
            if not fitting:
                request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {request}")
            held = max(fitting, key=lambda v: v.version)
            held.users += 1
            return held

    def _release(self, held: _Version) -> None:
        with self._changed:
            held.users -= 1
            # Only who drains it waits for that; the manager's thread is not to wake up for every request.
            if not held.users and held.phase is _Phase.UNLOADING:
                self._changed.notify_all()

    def _all(self) -> list[_Version]:
        return [version for versions in self._versions.values() for version in versions.values()]

    def _run(self) -> None:
        with self._changed:
            while not (self._stopping and not self._pending and not self._all()):
                self._forget_ended()
                self._take_pending()
                acted = [self._act(list(versions.values())) for versions in self._versions.values()]
                if not any(acted):
                    self._changed.wait(0.1)

    def _forget_ended(self) -> None:
        for versions in self._versions.values():
            for version in list(versions.values()):
                if not version.wanted and version.phase in (_Phase.NEW, _Phase.ENDED):
                    del versions[version.version]

    def _take_pending(self) -> None:
        """A version that is wanted again while it is still going keeps the request waiting until it is gone."""
        for name, wanted in list(self._pending.items()):
            known = self._versions.setdefault(name, {})
            if any(not known[version].wanted for version in wanted if version in known):
                continue
            del self._pending[name]
            for version in known.values():
                if version.version not in wanted:
                    version.wanted = False
                    version.cancelled.set()
            for number, path in wanted.items():
                if number not in known:
                    known[number] = _Version(name, number, path)
                    self._publish(known[number], ManagerState.START)

    def _act(self, versions: list[_Version]) -> bool:
        """One step for a model (core/availability_preserving_policy.cc). Whether there was one to take."""
        ready = [v for v in versions if v.phase is _Phase.READY]
        leaving = [v for v in ready if not v.wanted]
        wanted = [v for v in versions if v.wanted]
        serves = any(v.wanted for v in ready)
        if leaving and (not wanted or serves or len(leaving) > 1):
            self._unload(min(leaving, key=lambda v: v.version))
            return True
        new = [v for v in wanted if v.phase is _Phase.NEW]
        if new and not any(v.phase is _Phase.LOADING for v in versions):
            self._load(max(new, key=lambda v: v.version))
            return True
        return False

    def _load(self, version: _Version) -> None:
        version.phase = _Phase.LOADING
        self._publish(version, ManagerState.LOADING)
        future = self._pool.submit(self._attempts, version)
        future.add_done_callback(lambda done: self._finish_load(version, done))

    def _attempts(self, version: _Version) -> Loaded:
        """Load, and try again after a failure."""
        for left in reversed(range(self._most_attempts)):
            try:
                return self._load_whole(version)
            except StatusError as exc:
                state = ServableState(version.name, version.version, ManagerState.LOADING)
                version.failures += 1
                log.warning("Loading servable: %s failed: %s (%s)", state.servable, exc, version.path)
                if not left or version.cancelled.wait(self._retry_seconds):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _load_whole(self, version: _Version) -> Loaded:
        """Load what a folder has when nobody writes into it any more."""
        for left in range(_OVERTAKEN - 1, -1, -1):
            version.tried = settled(version.path, self._settle_seconds, version.cancelled)
            loaded = self._load_version(version.name, version.version, version.path)
            if not left or version.cancelled.is_set() or Fingerprint.of(version.path) == version.tried:
                return loaded
            log.warning("%s: its folder changed while it was loaded; it is loaded anew.", _named(version))
            loaded.close()
        raise AssertionError("the last load returns or raises")

    def _finish_load(self, version: _Version, done: Future[Loaded]) -> None:
        failure = done.exception()
        with self._changed:
            if failure is None:
                version.loaded = done.result()
                version.phase = _Phase.READY
                self._publish(version, ManagerState.AVAILABLE)
            else:
                version.phase = _Phase.ENDED
                error = failure if isinstance(failure, StatusError) else _internal(failure)
                self._publish(version, ManagerState.END, error)
                log.error("Servable %s cannot be loaded: %s", _named(version), error)
            self._changed.notify_all()

    def _unload(self, version: _Version) -> None:
        version.phase = _Phase.UNLOADING
        self._publish(version, ManagerState.UNLOADING)
        self._pool.submit(self._drain, version)

    def _drain(self, version: _Version) -> None:
        with self._changed:
            while version.users:
                self._changed.wait()
        assert version.loaded is not None
        try:
            version.loaded.close()
        finally:
            version.loaded = None
            memory.release()
            with self._changed:
                version.phase = _Phase.ENDED
                self._publish(version, ManagerState.END)
                self._changed.notify_all()

    def _publish(self, version: _Version, state: ManagerState, error: StatusError | None = None) -> None:
        self.board.publish(ServableState(version.name, version.version, state, error))
        log.info("%s: %s", _named(version), state.name)


def _is_first_attempt(version: _Version) -> bool:
    return version.wanted and version.phase in (_Phase.NEW, _Phase.LOADING) and not version.failures


def _named(version: _Version) -> str:
    return f"{{name: {version.name} version: {version.version}}}"


def _internal(failure: BaseException) -> StatusError:
    return StatusError(Code.INTERNAL, f"{type(failure).__name__}: {failure}")
