from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fuzz.fuzzing import Sandbox
from tests.faults.victim import Victim, save_model, victim


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return a sandbox that holds this process's temporary files too."""
    made = Sandbox(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr("tempfile.tempdir", str(made.tmp))
    monkeypatch.setenv("TMPDIR", str(made.tmp))
    return made


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the model that victims serve."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "m" / "1")
    return folder


@pytest.fixture
def server(models: Path) -> Iterator[Victim]:
    """Return a running server with the models of the recordings."""
    with victim("--rest_api_timeout_in_ms=10000", models=models) as running:
        yield running
