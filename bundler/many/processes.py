"""The engine that runs units in processes of this machine.

A worker imports TensorFlow once and then builds many models. It is replaced when its memory has grown over a bound, and when it
dies; the unit that it died in is tried once more, alone if the system killed it, as memory is what it lacked. A unit begins only
while the system has memory for it, unless no other unit runs.
"""

from __future__ import annotations

import math
import os
import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.many import failures
from bundler.many.cache import Cache, CacheEntry, CorruptEntryError, corrupted
from bundler.many.engine import ATTEMPTS, Hooks, Outcome, died, tried_again
from bundler.many.units import Unit
from bundler.process.memory import available_bytes
from bundler.process.worker import WorkerEndedError, WorkerProcess, how_it_ended, was_killed

GROWTH_BYTES = 1 << 30
"""How much a worker may grow over its size after its first unit before it is replaced."""
NEEDED_BYTES = 1 << 30
"""The memory that a unit needs besides its model: TensorFlow, PyTorch and what a small model takes."""
MODEL_COPIES = 6
"""How often the weights of a model are in memory while it is built: PyTorch, ONNX, its protobuf, TensorFlow and its export."""
_SETTLING_S = 10.0
"""The time after its start in which a unit has not taken the memory yet that it will need."""
_LOOK_AGAIN_S = 0.5
_WORKER = "bundler.many.worker"
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Job:
    """A unit in the queue; `alone` says that nothing may run beside it."""

    unit: Unit
    attempt: int = 1
    alone: bool = False

    @property
    def needed(self) -> int:
        """The bytes of memory that the unit needs."""
        return needed_bytes(self.unit)


def needed_bytes(unit: Unit) -> int:
    """Return the bytes of memory that a unit needs, by the size of its source."""
    source = Path(unit.base, unit.model["source"].rpartition(":")[0] or unit.model["source"])
    return NEEDED_BYTES + MODEL_COPIES * (source.stat().st_size if source.is_file() else 0)


@dataclass(frozen=True)
class ProcessEngine:
    """Runs units in processes.

    Attributes:
        jobs: how many processes run at the same time.
        growth: how many bytes a worker may grow before it is replaced.
        module: the module that a worker runs.
    """

    jobs: int
    growth: int = GROWTH_BYTES
    module: str = _WORKER

    def run(self, units: Sequence[Unit], cache: Cache, hooks: Hooks) -> Iterator[Outcome]:
        """Yield the outcome of every unit, as an Engine does. Units that decide by measured times run last, one at a time."""
        together = [unit for unit in units if not unit.measures or self.jobs == 1]
        for group, jobs in ((together, self.jobs), ([unit for unit in units if unit not in together], 1)):
            if group:
                with tempfile.TemporaryDirectory(prefix="tfbundle-many-") as logs:
                    pool = _Pool(group, min(jobs, len(group)), cache, Path(logs), self.growth, self.module)
                    yield from pool.outcomes(hooks)


@dataclass
class _Pool:
    """Threads with a worker each, and the queue that they take units from."""

    units: Sequence[Unit]
    jobs: int
    cache: Cache
    logs: Path
    growth: int
    module: str
    _messages: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _running: dict[int, tuple[_Job, float]] = field(default_factory=dict)
    _workers: dict[int, WorkerProcess] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _stopped: bool = False
    _waited: bool = False

    def __post_init__(self) -> None:
        self._pending = deque(_Job(unit) for unit in self.units)

    def outcomes(self, hooks: Hooks) -> Iterator[Outcome]:
        """Yield the outcomes; at the end, or when the iterator is closed, no process is left."""
        threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(self.jobs)]
        for thread in threads:
            thread.start()
        left = len(self.units)
        try:
            while left:
                message = self._messages.get()
                if isinstance(message, Outcome):
                    left -= 1
                    yield message
                elif isinstance(message, str):
                    hooks.notice(message)
                elif isinstance(message, BaseException):
                    raise message
                else:
                    hooks.progress(message)
        finally:
            self._stop()
            for thread in threads:
                thread.join()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop()

    def _work(self, number: int) -> None:
        """Run units until there are none; what goes wrong in here is told to the thread that waits."""
        try:
            while (job := self._next(number)) is not None:
                self._run(number, job)
        except BaseException as exc:
            self._messages.put(exc)
            if not isinstance(exc, Exception):
                raise
        finally:
            self._replace(number, None)

    def _next(self, number: int) -> _Job | None:
        """Wait until a unit may begin, and return it; None if there are no more."""
        with self._changed:
            while not self._stopped and (self._pending or self._running):
                if self._pending and self._may_begin(self._pending[0]):
                    job = self._pending.popleft()
                    self._running[number] = job, time.monotonic()
                    return job
                self._changed.wait(_LOOK_AGAIN_S)
            return None

    def _may_begin(self, job: _Job) -> bool:
        if not self._running:
            return True
        if job.alone or any(other.alone for other, _ in self._running.values()):
            return False
        recent = [other.needed for other, since in self._running.values() if time.monotonic() - since < _SETTLING_S]
        fits = available_bytes() >= job.needed + sum(recent)
        if not fits and not self._waited:
            self._waited = True
            self._messages.put("There is not enough free memory for all jobs, so fewer models are built at the same time.")
        return fits

    def _run(self, number: int, job: _Job) -> None:
        from bundler.pipeline import StageEvent

        worker = self._workers.get(number) or self._start(number)
        began = time.monotonic()
        try:
            answer = worker.ask(
                {"unit": asdict(job.unit)}, math.inf, lambda event: self._messages.put(StageEvent(**event))
            )
        except WorkerEndedError as exc:
            self._died(number, job, exc.status, time.monotonic() - began)
            return
        outcome = self._outcome(job.unit, answer)
        self._messages.put(replace(outcome, seconds=time.monotonic() - began))
        self._done(number)
        first = self._sizes.setdefault(worker.pid, answer["memory"])
        if answer["memory"] - first > self.growth:
            self._replace(number, None)

    def _outcome(self, unit: Unit, answer: dict[str, Any]) -> Outcome:
        if "error" in answer:
            return Outcome(unit, error=failures.from_json(answer["error"]))
        entry = CacheEntry(answer["key"], self.cache.folder(answer["key"]), unit.name)
        try:
            entry.check()
        except CorruptEntryError as exc:
            self.cache.discard(entry)
            return Outcome(unit, error=corrupted(entry, exc))
        return Outcome(unit, entry)

    def _died(self, number: int, job: _Job, status: int, seconds: float) -> None:
        how = how_it_ended(status, self._log(number))
        self._replace(number, None)
        with self._changed:
            if self._stopped:
                return
            again = job.attempt < ATTEMPTS
            if again:
                self._pending.append(_Job(job.unit, job.attempt + 1, alone=was_killed(status)))
        self._messages.put(tried_again(job.unit, how) if again else Outcome(job.unit, error=died(job.unit, how), seconds=seconds))
        self._done(number)

    def _done(self, number: int) -> None:
        with self._changed:
            del self._running[number]
            self._changed.notify_all()

    def _log(self, number: int) -> Path:
        return self.logs / f"{number}.log"

    def _start(self, number: int) -> WorkerProcess:
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        variables: dict[str, str | None] = {name: os.environ.get(name, threads) for name in _THREADS}
        variables["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        arguments = (str(Path.cwd()), str(self.cache.root))
        worker = WorkerProcess(self.module, arguments, self._log(number), variables)
        self._replace(number, worker)
        return worker

    def _replace(self, number: int, worker: WorkerProcess | None) -> None:
        with self._changed:
            old = self._workers.pop(number, None)
            if worker is not None:
                self._workers[number] = worker
        if old is not None:
            old.close()
