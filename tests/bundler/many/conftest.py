"""Fixtures of builds of many models."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.many.cache import Cache
from tests.bundler.many.toys import ToyEngine, render_only_the_report


@pytest.fixture(autouse=True)
def quick_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render only the report."""
    render_only_the_report(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def toys_engine(small_bundle: Path) -> ToyEngine:
    """Return an engine whose units are copies of the small bundle's model."""
    return ToyEngine(small_bundle)
