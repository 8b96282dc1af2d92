"""Fixtures for the tests of delivery."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.process.cache import CACHE_ENV


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and credentials out of the tests."""
    folder: Path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv(CACHE_ENV, str(folder / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / "docker"))
