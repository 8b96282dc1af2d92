"""Writing a converted model as a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bundler.values.converted import ConvertedModel


def write(converted: ConvertedModel, folder: Path) -> None:
    """Write saved_model.pb and variables/ into the new folder `folder`.

    Raises:
        OSError: the folder cannot be written (a full disk, say).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    converted.save(folder)
