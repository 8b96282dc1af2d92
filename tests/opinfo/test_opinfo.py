"""torch's own samples of its operators answer as PyTorch does: static, and with a dynamic first dim at 0, 1 and 3.

Each part runs its operators in a worker process, which may crash. `python -m tests.opinfo` runs any of them by name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.opinfo import listed, pool
from tests.opinfo.summary import PROPERTY, SECONDS, counts

PARTS = 24
FAST = (
    "add", "argmax", "bmm", "cat", "clamp", "cumsum", "div.floor_rounding", "masked_fill", "mean", "nn.functional.gelu",
    "softmax", "sort", "topk", "transpose",
)  # fmt: skip


@pytest.fixture
def worker() -> Iterator[pool.Worker]:
    process = pool.Worker()
    yield process
    process.close()


def assert_as_listed(
    worker: pool.Worker, names: list[str], plan: Mapping[str, Any], record: Any, *, complete: bool
) -> None:
    """Run operators, and assert that all cases are right but the listed ones. `complete` runs have all listed cases of them."""
    began = time.monotonic()
    results = [result for name in names for result in worker.run(pool.Request(name, plan))]
    record(PROPERTY, counts(results))
    record(SECONDS, round(time.monotonic() - began))
    problems = [text for text in map(listed.problem, results) if text]
    if complete:
        ran, own = {result.case for result in results}, {f"{name} " for name in names}
        gone = [case for case in listed.listed() if case not in ran and f"{case.split(' ')[0]} " in own]
        problems += [f"{case} is listed but does not exist" for case in gone]
    assert not problems, "\n".join(problems)
    assert results


def test_common_operators(worker: pool.Worker, record_property: Any) -> None:
    assert_as_listed(worker, list(FAST), {"float32": (1, 1)}, record_property, complete=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_operators(worker: pool.Worker, part: int, record_property: Any) -> None:
    names = worker.names(pool.PLAN)[part::PARTS]
    assert_as_listed(worker, names, pool.PLAN, record_property, complete=True)


def test_a_crash_is_an_outcome_and_the_worker_goes_on(worker: pool.Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "COMMAND", ["-m", "tests.opinfo.crashing_worker"])
    results = list(worker.run(pool.Request("add", {"float32": (2, 0)})))
    assert [(r.case, r.kind) for r in results] == [("add float32 0 static", "crash"), ("add float32 1 static", "right")]
    assert "signal 6" in results[0].detail


def test_every_reason_of_the_list_is_known() -> None:
    assert set(listed.listed().values()) <= set(listed.REASONS)
    assert Path(listed.PATH).read_text("utf-8").endswith("\n")
