"""The engine of processes: every unit has one outcome, whatever happens to the processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from bundler.many import processes
from bundler.many.cache import Cache
from bundler.many.engine import Outcome
from bundler.many.processes import ProcessEngine
from bundler.many.units import Unit
from bundler.process.worker import WorkerProcess
from tests.bundler.many import toys

MODULE = "tests.bundler.many.toys"


@pytest.fixture
def cache(tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv(toys.BUNDLE_ENV, str(small_bundle))
    return Cache(tmp_path / "cache")


def run(
    units: Sequence[Unit], cache: Cache, jobs: int = 2, growth: int = processes.GROWTH_BYTES
) -> tuple[dict[str, Outcome], list[str]]:
    said: list[str] = []
    outcomes = list(ProcessEngine(jobs, growth, MODULE).run(units, cache, toys.hooks(said)))
    assert sorted(outcome.unit.index for outcome in outcomes) == [unit.index for unit in units]
    return {outcome.unit.name: outcome for outcome in outcomes}, said


def pids(cache: Cache, name: str) -> list[int]:
    return [int(line) for line in (cache.root / f"{name}.began").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_deaths_and_errors_do_not_stop_other_units(cache: Cache, tmp_path: Path) -> None:
    names = ("a", "dies", "b", "fails", "stumbles")
    outcomes, said = run([toys.unit(index, name, tmp_path) for index, name in enumerate(names)], cache)
    for name in ("a", "b", "stumbles"):
        entry = outcomes[name].entry
        assert entry is not None and outcomes[name].error is None
        entry.check()
    dead, failed = outcomes["dies"].error, outcomes["fails"].error
    assert dead is not None and dead.code == "TFB5201"
    assert "The process that built dies died 2 times: it was ended by SIGKILL." in dead.what
    assert failed is not None and (failed.code, failed.exit_code, failed.what) == ("TFB3401", 3, "It differs.")
    assert sorted(said) == [f"{name}: its process was ended by SIGKILL; it is tried once more." for name in ("dies", "stumbles")]
    assert len(pids(cache, "dies")) == 2 and len(pids(cache, "stumbles")) == 2 and len(pids(cache, "fails")) == 1


def test_a_worker_builds_many_models_until_it_has_grown(cache: Cache, tmp_path: Path) -> None:
    units = [toys.unit(index, f"grows{index}", tmp_path) for index in range(4)]
    run(units, cache, jobs=1, growth=toys.GROWTH + toys.GROWTH // 2)
    workers = [pids(cache, unit.name)[0] for unit in units]
    assert workers[0] == workers[1] == workers[2] != workers[3]


def test_few_units_run_together_without_memory(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "available_bytes", lambda: 0.0)
    outcomes, said = run([toys.unit(index, f"m{index}", tmp_path) for index in range(3)], cache, jobs=2)
    assert all(outcome.entry for outcome in outcomes.values())
    assert said == ["There is not enough free memory for all jobs, so fewer models are built at the same time."]


def test_units_that_measure_run_last_and_alone(cache: Cache, tmp_path: Path) -> None:
    measuring, plain = toys.unit(0, "a", tmp_path, optimize="size"), toys.unit(1, "b", tmp_path)
    outcomes = list(ProcessEngine(2, module=MODULE).run([measuring, plain], cache, toys.hooks()))
    assert [outcome.unit.name for outcome in outcomes] == ["b", "a"]


def test_closing_the_iterator_ends_the_processes(cache: Cache, tmp_path: Path) -> None:
    units = [toys.unit(index, f"m{index}", tmp_path) for index in range(20)]
    outcomes = ProcessEngine(2, module=MODULE).run(units, cache, toys.hooks())
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    began = [pid for unit in units if (cache.root / f"{unit.name}.began").exists() for pid in pids(cache, unit.name)]
    assert began and not any(map(is_running, began))


def test_threads_are_divided_by_the_jobs(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, str]] = []

    def recorded(*arguments: object) -> object:
        made.append(arguments[3])  # type: ignore[arg-type]
        return WorkerProcess(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(processes, "WorkerProcess", recorded)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run([toys.unit(index, f"m{index}", tmp_path) for index in range(2)], cache, jobs=2)
    assert made[0]["TF_NUM_INTRAOP_THREADS"] == "4" and made[0]["OMP_NUM_THREADS"] == "1"


