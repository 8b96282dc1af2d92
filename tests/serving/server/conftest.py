from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.server.recordings import MODELS


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """A model's base path with version 1, which multiplies by 1 (signature `single`)."""
    made = tmp_path / "m"
    made.mkdir()
    shutil.copytree(MODELS / "rows" / "1", made / "1")
    return made


@pytest.fixture
def publish(base_path: Path) -> Callable[[str, Path], Path]:
    """Makes a copy of a SavedModel appear as a version, whole."""

    def copy(version: str, model: Path) -> Path:
        staging = base_path.parent / f"staging-{version}"
        shutil.copytree(model, staging)
        return staging.rename(base_path / version)

    return copy


@pytest.fixture(scope="session")
def spinners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of two versions of the slow model, whose answers are 1 and 2."""
    from tests.serving.server.slow_model import save_spinner

    base = tmp_path_factory.mktemp("spinners")
    for version in (1, 2):
        save_spinner(base / str(version), float(version))
    return base
