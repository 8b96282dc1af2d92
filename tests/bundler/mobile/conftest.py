"""A file of labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundler.mobile.models import CLASSES


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "classes.txt"
    path.write_text("".join(f"{name}\n" for name in CLASSES), "utf-8")
    return path
