"""The fuzzer finds no defect in ten minutes, and the files that it found earlier are handled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fuzz.corpus import external
from tests.fuzz.fuzzer import Worker, fuzz, lay_out

SECONDS = 600.0
FOUND = Path(__file__).parent / "found"
"""Files that were once neither converted nor rejected."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_damaged_file_is_converted_or_rejected(tmp_path: Path) -> None:
    outcome = fuzz(SECONDS, seed=1, out=tmp_path)
    print(outcome)
    assert outcome.inputs > 0
    assert not outcome.findings, "\n".join(f"{f.file}: {f.detail}" for f in outcome.findings)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Worker]]:
    """Return a function that gives a living worker: a separate process, since some of these files once crashed it."""
    log = tmp_path_factory.mktemp("worker") / "log"
    started: list[Worker] = []

    def living() -> Worker:
        if not started or not started[-1].alive:
            started.append(Worker(log))
        return started[-1]

    yield living
    if started and started[-1].alive:
        started[-1].close()


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", ["save", "build"])
@pytest.mark.parametrize("name", sorted(path.name for path in FOUND.glob("*.onnx")))
def test_file_found_earlier_is_converted_or_rejected(
    tmp_path: Path, workers: Callable[[], Worker], name: str, kind: str
) -> None:
    path = lay_out(external(), (FOUND / name).read_bytes(), tmp_path / "model")
    result = workers().convert(kind, path)
    assert result["outcome"] in ("converted", "rejected"), result["detail"]
