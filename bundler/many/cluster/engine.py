"""The engine that runs units as tasks of a Ray cluster.

What a task yields comes back in chunks, so that the memory here is bounded by a batch of the courier, whatever the models' size.
Ray itself starts no task again: whether a unit is tried once more, and how often, is decided and told here. A process that was
killed or crashed counts as in the other engines; a node that vanished is no fault of the unit, and counts less.
"""

from __future__ import annotations

import os
import tarfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.errors import TfbundleError
from bundler.many import failures
from bundler.many.cache import Cache, CorruptEntryError
from bundler.many.cluster import session as connection
from bundler.many.cluster.parcels import unpack
from bundler.many.cluster.session import Session, capitalized
from bundler.many.cluster.sources import Parcel, send
from bundler.many.engine import ATTEMPTS, Hooks, Outcome, died, tried_again
from bundler.many.processes import needed_bytes
from bundler.many.units import Unit, tools, variables
from serving.texts import plural

NODE_ATTEMPTS = 4
"""How often a unit is tried if the nodes that it is on vanish."""

_LISTEN_S = 1.0
_CHUNK_READ = 1 << 20


@dataclass(frozen=True)
class RayEngine:
    """Runs units on a Ray cluster.

    Attributes:
        address: `ray` for a cluster on this machine, or `ray://HOST:PORT`.
        jobs: how many units run at the same time; None: as many as the cluster has room for.
        patience_s: how long the build waits for a node if there is none, as clusters that grow start without.
    """

    address: str
    jobs: int | None = None
    patience_s: float = 60.0

    def run(self, units: Sequence[Unit], cache: Cache, hooks: Hooks) -> Iterator[Outcome]:
        """Yield the outcome of every unit (`bundler.many.engine.Engine`).

        Raises:
            TfbundleError: the cluster cannot be reached or used, or no node is left; what was built is in the cache.
        """
        with connection.connected(self.address, self.jobs or os.cpu_count() or 1) as session:
            yield from _Build(session, self, cache, hooks).outcomes(units)


@dataclass(frozen=True)
class _Job:
    """A unit in the queue, and how often processes and nodes have died on it."""

    unit: Unit
    deaths: int = 0
    vanished: int = 0


@dataclass
class _Flight:
    """A unit whose task has been started.

    Attributes:
        job: the unit.
        began: when the task was started, or began to build.
        draft: private folder in the cache.
        resources: removes that folder.
        outcome: what became of it, once known.
    """

    job: _Job
    began: float
    draft: Path
    resources: ExitStack
    outcome: Outcome | None = None

    @property
    def spool(self) -> Path:
        return self.draft / "entry.tar"


@dataclass
class _Build:
    """One run of the engine."""

    session: Session
    engine: RayEngine
    cache: Cache
    hooks: Hooks
    _waiting: deque[_Job] = field(default_factory=deque)
    _flights: dict[int, _Flight] = field(default_factory=dict)
    _parcels: dict[str, Parcel] = field(default_factory=dict)
    _started: int = 0
    _alone_since: float | None = None

    def outcomes(self, units: Sequence[Unit]) -> Iterator[Outcome]:
        """Yield the outcomes; at the end, or when the iterator is closed, nothing of an unfinished unit is left."""
        known = self._known(units)
        yield from known.values()
        self._waiting.extend(_Job(unit) for unit in units if unit.index not in known)
        if self._waiting:
            self._parcels = send([job.unit for job in self._waiting], self.session.put)
        try:
            while self._waiting or self._flights:
                self._start()
                yield from self._receive()
        finally:
            for flight in self._flights.values():
                flight.resources.close()

    def _known(self, units: Sequence[Unit]) -> dict[int, Outcome]:
        """Check the nodes, and return the outcomes that the cache has from nodes with another CPU than this machine's."""
        answers = self._examined(units)
        self.hooks.notice(f"Building on {plural(len(answers), 'node')} of {self.session.shown}.")
        known = {}
        for requests in {tuple(answer["requests"]) for answer in answers}:
            for unit, request in zip(units, requests, strict=True):
                entry = self.cache.find(request, unit.name, Path(unit.base))
                if entry is not None and unit.index not in known and _is_sound(entry):
                    known[unit.index] = Outcome(unit, entry, is_cached=True)
        return known

    def _examined(self, units: Sequence[Unit]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self.engine.patience_s
        while not (answers := self.session.examine(units, _expected())):
            if time.monotonic() >= deadline:
                raise self._no_node(len(units))
            time.sleep(_LISTEN_S)
        for answer in answers:
            if answer["unfit"]:
                raise _unfit(answer["name"], answer["unfit"])
        return answers

    def _start(self) -> None:
        """Start tasks as long as there are units, and fewer are under way than may be."""
        if not self._waiting:
            return
        nodes = self.session.nodes()
        while self._waiting and len(self._flights) < (self.engine.jobs or len(self._waiting) + len(self._flights)):
            job = self._waiting.popleft()
            key, self._started = self._started, self._started + 1
            parcel = self._parcels[job.unit.base]
            resources = ExitStack()
            draft = resources.enter_context(self.cache.draft())
            self._flights[key] = _Flight(job, time.monotonic(), draft, resources)
            arguments = (asdict(job.unit), parcel.digest, parcel.chunks, _expected())
            self.session.start(key, arguments, _resources(job.unit, nodes))

    def _receive(self) -> Iterator[Outcome]:
        messages, nodes = self.session.receive(_LISTEN_S)
        self._watch(nodes)
        for key, (kind, content) in messages:
            flight = self._flights[key]
            if kind == "lost":
                self._lost(flight, *content)
            elif kind != "end":
                self._take(flight, kind, content)
            if kind in ("lost", "end", "broken"):
                del self._flights[key]
                flight.resources.close()
                if flight.outcome is not None:
                    yield replace(flight.outcome, seconds=time.monotonic() - flight.began)

    def _watch(self, nodes: int) -> None:
        """Raise if there has been no node for too long."""
        if nodes:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since >= self.engine.patience_s:
            raise self._no_node(len(self._waiting) + len(self._flights))

    def _no_node(self, left: int) -> TfbundleError:
        return TfbundleError(
            f"{capitalized(self.session.shown)} has no node left that can build {plural(left, 'model')}.",
            fix="start a node with `ray start --address=HEAD:6379`, and repeat the command; finished models come from the cache",
            code="TFB5255",
        )

    def _take(self, flight: _Flight, kind: str, content: Any) -> None:
        """Deal with what the task of a unit yields."""
        from bundler.pipeline import StageEvent

        unit = flight.job.unit
        if kind == "stage":
            event = StageEvent(**content)
            if (event.stage, event.status) == ("load", "started"):
                flight.began = time.monotonic()
            self.hooks.progress(event)
        elif kind == "chunk":
            with flight.spool.open("ab") as file:
                file.write(content)
        elif kind == "built":
            self._keep(flight, content)
        elif kind == "failed":
            flight.outcome = Outcome(unit, error=failures.from_json(content))
        elif kind == "unfit":
            raise _unfit("a node of it", content)
        else:
            what = f"Ray could not run the build of {unit.name}: {str(content).strip().splitlines()[-1]}"
            flight.outcome = Outcome(unit, error=TfbundleError(what, fix="run with --debug, and see Ray's logs", code="TFB5254"))

    def _keep(self, flight: _Flight, content: dict[str, Any]) -> None:
        """Store the entry that has come. One that is not complete counts as if the process had died."""
        unit, key, folder = flight.job.unit, content["key"], flight.draft / "entry"
        try:
            with flight.spool.open("rb") as file:
                unpack(iter(lambda: file.read(_CHUNK_READ), b""), folder)
            entry = self.cache.adopt(folder, key, unit.name)
        except (tarfile.TarError, CorruptEntryError) as exc:
            self._lost(flight, "process", f"sent an entry that is damaged ({exc})")
            return
        if content["inputs"] is not None:
            self.cache.remember(content["request"], content["inputs"], key)
        flight.outcome = Outcome(unit, entry)

    def _lost(self, flight: _Flight, kind: str, text: str) -> None:
        """Put a unit whose task has died into the queue again, or give it up."""
        job = flight.job
        if kind == "node":
            job = replace(job, vanished=job.vanished + 1)
            if job.vanished >= NODE_ATTEMPTS:
                flight.outcome = Outcome(job.unit, error=_vanished(job.unit))
                return
            self.hooks.notice(f"{job.unit.name}: the node it was built on has vanished; it is built on another one.")
        else:
            job = replace(job, deaths=job.deaths + 1)
            how = "was ended because its node ran out of memory." if kind == "memory" else _words(text)
            if job.deaths >= ATTEMPTS:
                flight.outcome = Outcome(job.unit, error=died(job.unit, how))
                return
            self.hooks.notice(tried_again(job.unit, how))
        self._waiting.append(job)


def _expected() -> dict[str, dict[str, str]]:
    """Return what the nodes have to have in common with this machine, and what they are given."""
    return {"tools": dict(tools()), "variables": variables()}


def _is_sound(entry: Any) -> bool:
    try:
        entry.check()
    except CorruptEntryError:
        return False
    return True


def _resources(unit: Unit, nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the task of a unit asks of its node, at most what the largest node has.

    A unit that decides by measured times gets a node for itself.
    """
    cpus = [node["Resources"]["CPU"] for node in nodes] or [1.0]
    memory = [node["Resources"].get("memory", 0.0) for node in nodes] or [0.0]
    wanted = max(cpus) if unit.measures else min(1.0, max(cpus))
    return {"num_cpus": wanted, "memory": min(float(needed_bytes(unit)), max(memory))}


def _words(text: str) -> str:
    if text.startswith("sent "):
        return f"{text}."
    return "crashed, or was killed."


def _unfit(name: str, reason: str) -> TfbundleError:
    return TfbundleError(
        f"The node {name} of the Ray cluster cannot build: {reason}.",
        fix="give every node the Python environment that runs this command, e.g. the same image",
        code="TFB5253",
    )


def _vanished(unit: Unit) -> TfbundleError:
    return TfbundleError(
        f"{NODE_ATTEMPTS} nodes have vanished while they built {unit.name}.",
        fix="if the model takes the memory of the whole node, build it on a larger one; `ray status` tells why nodes end",
        code="TFB5254",
    )
