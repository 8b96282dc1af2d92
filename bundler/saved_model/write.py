"""Writing a converted model as a SavedModel."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.saved_model.canonical import make_canonical

if TYPE_CHECKING:
    from bundler.values.converted import ConvertedModel


def write(converted: ConvertedModel, folder: Path) -> None:
    """Write saved_model.pb and variables/ into the new folder `folder`, the same bytes whatever else the process has done.

    Raises:
        OSError: the folder cannot be written (a full disk, say).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    converted.save(folder)
    make_canonical(folder)


def replace_saved_model(folder: Path, other: Path) -> None:
    """Replace the SavedModel in `folder` by the one in `other`, which is moved. Other files in `folder` stay."""
    for name in ("saved_model.pb", "fingerprint.pb", "variables", "assets"):
        old, new = folder / name, other / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if new.exists():
            shutil.move(new, old)
