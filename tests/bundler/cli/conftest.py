"""Fixtures for the tests of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a small bundle that a test may change."""
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))
