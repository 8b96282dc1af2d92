"""One SavedModel for all tests of the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.saved_model.write import write
from tests.bundler.hand_written import Converted


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with the inputs image (NCHW) and ids, written into folders that did not exist."""
    folder = tmp_path_factory.mktemp("saved") / "models" / "1"
    write(Converted(), folder)
    return folder
