"""The artifact that several tests of this folder compare with its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundler.hand_written import Converted


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of the unchanged model."""
    folder = tmp_path_factory.mktemp("saved") / "1"
    Converted().save(folder)
    return folder
