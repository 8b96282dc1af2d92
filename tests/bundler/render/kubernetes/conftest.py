"""A rendered tree that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.render import kubernetes
from tests.bundler.render.conftest import make_context


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """k8s/ of a bundle with two models, labels and batching. Tests may add overlays, but must not change its files."""
    folder = tmp_path_factory.mktemp("bundle")
    labels = {"digits": {"stable": 1, "canary": 3}}
    kubernetes.render(make_context(serving={"labels": labels, "batching": True}), folder)
    return folder / "k8s"
