"""The fuzzer for ten minutes, and the files that it has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fuzz.corpus import external
from tests.fuzz.fuzzer import Worker, fuzz, lay_out

SECONDS = 600.0
KEPT = Path(__file__).parent / "found"
"""Files that once were neither converted nor refused."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_damaged_file_is_converted_or_refused(tmp_path: Path) -> None:
    outcome = fuzz(SECONDS, seed=1, out=tmp_path)
    print(outcome)
    assert outcome.inputs > 0
    assert not outcome.findings, "\n".join(f"{f.file}: {f.detail}" for f in outcome.findings)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Worker]]:
    """A process of its own, because some of these files ended it; another one where it did not live."""
    log = tmp_path_factory.mktemp("worker") / "log"
    made: list[Worker] = []

    def living() -> Worker:
        if not made or not made[-1].alive:
            made.append(Worker(log))
        return made[-1]

    yield living
    if made and made[-1].alive:
        made[-1].close()


@pytest.mark.parametrize("kind", ["save", "build"])
@pytest.mark.parametrize("name", sorted(path.name for path in KEPT.glob("*.onnx")))
def test_found_before(tmp_path: Path, workers: Callable[[], Worker], name: str, kind: str) -> None:
    path = lay_out(external(), (KEPT / name).read_bytes(), tmp_path / "model")
    result = workers().convert(kind, path)
    assert result["outcome"] in ("converted", "refused"), result["detail"]
