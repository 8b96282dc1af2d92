from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.server.recordings import MODELS


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """A base path with version 1, whose signature `single` returns its input."""
    folder = tmp_path / "m"
    folder.mkdir()
    shutil.copytree(MODELS / "rows" / "1", folder / "1")
    return folder


@pytest.fixture
def publish(base_path: Path) -> Callable[[str, Path], Path]:
    """A function that copies a SavedModel and renames it into place as a version."""

    def copy(version: str, model: Path) -> Path:
        staging = base_path.parent / f"staging-{version}"
        shutil.copytree(model, staging)
        return staging.rename(base_path / version)

    return copy


@pytest.fixture(scope="session")
def spinners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of two versions of the slow model, which answer 1 and 2."""
    from tests.serving.server.slow_model import save_spinner

    base = tmp_path_factory.mktemp("spinners")
    for version in (1, 2):
        save_spinner(base / str(version), float(version))
    return base
