"""The engine's decisions, with a cluster that says what the test wants: what is tried again, given up, or ends the build.

test_on_ray.py has the same with real clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.manifest import files_under
from bundler.errors import ParityError, TfbundleError
from bundler.many import failures
from bundler.many.cache import Cache
from bundler.many.cluster import session
from bundler.many.cluster.courier import Message
from bundler.many.cluster.engine import NODE_ATTEMPTS, RayEngine
from bundler.many.cluster.parcels import pack
from bundler.many.engine import ATTEMPTS, Outcome
from bundler.many.units import Unit
from tests.bundler.many import toys

LOST = ("lost", ("process", "The worker died."))
VANISHED = ("lost", ("node", "The node died."))


class Script:
    """A cluster whose tasks yield what is written for them: for each start of a unit, the next list of messages."""

    shown = "the Ray cluster of the test"

    def __init__(self, lines: Mapping[str, list[list[Message]]], nodes: Sequence[float] = (2.0,)) -> None:
        self.lines = lines
        self.cpus = nodes
        self.unfit = ""
        self.options: list[Mapping[str, Any]] = []
        self.most = 0
        self._tasks: dict[int, list[Message]] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Resources": {"CPU": cpus, "memory": 2.0**40}} for cpus in self.cpus]

    def put(self, chunk: bytes) -> bytes:
        return chunk

    def examine(self, units: Sequence[Unit], expected: Mapping[str, str]) -> list[dict[str, Any]]:
        requests = [] if self.unfit else [f"{unit.name} on another CPU" for unit in units]
        return [{"name": "node-1", "unfit": self.unfit, "requests": requests} for _ in self.cpus]

    def start(self, key: int, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        self.options.append(options)
        self._tasks[key] = list(self.lines[arguments[0]["name"]].pop(0))
        self.most = max(self.most, len(self._tasks))

    def receive(self, timeout_s: float) -> tuple[list[tuple[int, Message]], int]:
        said = [(key, message) for key, messages in self._tasks.items() for message in messages]
        self._tasks = {} if said else self._tasks
        return said, len(self.cpus)


@contextmanager
def scripted(script: Script, monkeypatch: pytest.MonkeyPatch) -> Any:
    @contextmanager
    def connected(address: str, cpus: int) -> Any:
        yield script

    monkeypatch.setattr(session, "connected", connected)
    yield


def run(script: Script, units: Sequence[Unit], cache: Cache, **settings: Any) -> tuple[dict[str, Outcome], list[str]]:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as monkeypatch, scripted(script, monkeypatch):
        engine = RayEngine("ray", patience_s=0.0, **settings)
        outcomes = {outcome.unit.name: outcome for outcome in engine.run(units, cache, toys.hooks(said))}
    assert not list((cache.root / "drafts").glob("*"))
    return outcomes, said


def built(unit: Unit, folder: Path, bundle: Path, *, cut: int = 0) -> list[Message]:
    """Return what the task of a unit yields that succeeds on a node; `cut` bytes of its entry are missing."""
    entry = toys.make_entry(unit, Cache(folder), bundle)
    archive = b"".join(pack((path.relative_to(entry.folder).as_posix(), path) for path in files_under(entry.folder)))
    archive = archive[: len(archive) - cut]
    chunks: list[Message] = [("chunk", archive[at : at + 50_000]) for at in range(0, len(archive), 50_000)]
    inputs = Cache(folder).inputs_of(unit.request(), entry.key)
    stage = {"model": unit.name, "stage": "load", "status": "started", "seconds": 0.0, "part": ""}
    last: Message = ("built", {"key": entry.key, "request": f"{unit.name} on another CPU", "inputs": inputs})
    return [("stage", stage), *chunks, last, ("end", None)]


@pytest.fixture
def units(tmp_path: Path) -> list[Unit]:
    return [toys.unit(index, name, tmp_path / "base") for index, name in enumerate(("a", "b"))]


@pytest.fixture(autouse=True)
def base(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()


def test_entries_come_into_the_cache_and_are_found_again(
    units: list[Unit], cache: Cache, tmp_path: Path, small_bundle: Path
) -> None:
    script = Script({unit.name: [built(unit, tmp_path / "node", small_bundle)] for unit in units})
    outcomes, said = run(script, units, cache)
    for outcome in outcomes.values():
        assert outcome.entry is not None and not outcome.is_cached
        outcome.entry.check()
    assert said == ["Building on 1 node of the Ray cluster of the test."]
    again, _ = run(Script({}), units, cache)  # the cluster's CPU is another one, and yet nothing is built
    assert [outcome.is_cached for outcome in again.values()] == [True, True]


def test_what_dies_is_tried_again_and_then_given_up(units: list[Unit], cache: Cache, tmp_path: Path, small_bundle: Path) -> None:
    good = built(units[0], tmp_path / "node", small_bundle)
    outcomes, said = run(Script({"a": [[good[0], good[1], LOST], good], "b": [[LOST]] * ATTEMPTS}), units, cache)
    assert outcomes["a"].entry is not None
    error = outcomes["b"].error
    assert error is not None and error.code == "TFB5201"
    assert f"died {ATTEMPTS} times: it crashed, or was killed." in error.what
    assert sorted(said)[1:] == [f"{name}: its process crashed, or was killed; it is tried once more." for name in "ab"]


def test_a_node_that_vanishes_counts_less_than_a_death(
    units: list[Unit], cache: Cache, tmp_path: Path, small_bundle: Path
) -> None:
    good = built(units[0], tmp_path / "node", small_bundle)
    lines = {"a": [*[[VANISHED]] * (NODE_ATTEMPTS - 1), good], "b": [[VANISHED]] * NODE_ATTEMPTS}
    outcomes, said = run(Script(lines), units, cache)
    assert outcomes["a"].entry is not None
    error = outcomes["b"].error
    assert error is not None and error.code == "TFB5254"
    assert f"{NODE_ATTEMPTS} nodes have vanished while they built b." in error.what
    assert said.count("a: the node it was built on has vanished; it is built on another one.") == NODE_ATTEMPTS - 1


def test_a_damaged_entry_is_built_again(units: list[Unit], cache: Cache, tmp_path: Path, small_bundle: Path) -> None:
    good, cut = (built(units[0], tmp_path / "node", small_bundle, cut=cut) for cut in (0, 20_000))
    outcomes, said = run(Script({"a": [cut, good]}), units[:1], cache)
    assert outcomes["a"].entry is not None
    outcomes["a"].entry.check()
    assert "sent an entry that is damaged" in said[1]


def test_a_users_error_is_not_tried_again(units: list[Unit], cache: Cache, tmp_path: Path, small_bundle: Path) -> None:
    failed: list[Message] = [("failed", failures.to_json(ParityError("It differs.", fix="correct it"))), ("end", None)]
    outcomes, _ = run(Script({"a": [failed], "b": [built(units[1], tmp_path / "node", small_bundle)]}), units, cache)
    error = outcomes["a"].error
    assert error is not None and (error.code, error.exit_code) == ("TFB3401", 3)
    assert outcomes["b"].entry is not None


def test_jobs_bound_what_is_under_way(cache: Cache, tmp_path: Path, small_bundle: Path) -> None:
    units = [toys.unit(index, f"m{index}", tmp_path / "base") for index in range(5)]
    for jobs, most in ((2, 2), (None, 5)):
        script = Script({unit.name: [[LOST], [LOST]] for unit in units})
        run(script, units, cache, jobs=jobs)
        assert script.most == most


def test_a_unit_asks_for_no_more_than_a_node_has_and_one_that_measures_for_all(cache: Cache, tmp_path: Path) -> None:
    units = [toys.unit(0, "a", tmp_path / "base"), toys.unit(1, "m", tmp_path / "base", optimize="latency")]
    for cpus, wanted in (((4.0, 8.0), [1.0, 8.0]), ((0.5,), [0.5, 0.5])):
        script = Script({unit.name: [[LOST]] * 2 for unit in units}, nodes=cpus)
        run(script, units, cache)
        assert [options["num_cpus"] for options in script.options[:2]] == wanted
        assert all(0 < options["memory"] <= 2**40 for options in script.options)


@pytest.mark.parametrize("left", [True, False])
def test_without_a_node_the_build_ends_with_one_message(units: list[Unit], cache: Cache, left: bool) -> None:
    script = Script({"a": [[]], "b": [[]]})
    if left:  # the nodes vanish once the tasks have been started
        script.receive = lambda timeout_s: ([], 0)  # type: ignore[method-assign]
    else:
        script.cpus = ()
    with pytest.raises(TfbundleError, match="The Ray cluster of the test has no node left that can build 2 models") as caught:
        run(script, units, cache)
    assert caught.value.code == "TFB5255"
    assert not list((cache.root / "drafts").glob("*"))


def test_a_node_with_other_versions_is_named(units: list[Unit], cache: Cache) -> None:
    script = Script({})
    script.unfit = "tfbundle is not installed there"
    with pytest.raises(TfbundleError, match="The node node-1 of the Ray cluster cannot build: tfbundle is not") as caught:
        run(script, units, cache)
    assert caught.value.code == "TFB5253"
    late: list[Message] = [("unfit", "other versions are installed there: torch 2.0 (here 2.9)")]
    with pytest.raises(TfbundleError, match=r"torch 2\.0"):
        run(Script({"a": [late], "b": [[]]}), units, cache)


def test_an_error_that_nobody_expects_is_told_for_its_unit(units: list[Unit], cache: Cache) -> None:
    broken: list[Message] = [("broken", "ray::build()\nKeyError: 'x'")]
    outcomes, _ = run(Script({"a": [broken]}), units[:1], cache)
    error = outcomes["a"].error
    assert error is not None and "KeyError: 'x'" in error.what
