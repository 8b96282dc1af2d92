"""Finds and describes the files that a source string names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundler.bundle.manifest import FileEntry
from bundler.errors import SourceError


def find_file(text: str, base: Path, *, what: str) -> Path:
    """Return the path of a readable file.

    Args:
        text: the path that the user gave.
        base: the folder that a relative path starts from.
        what: what the file is, for the message, such as `The weights file`.

    Raises:
        SourceError: the file does not exist, is a folder, or cannot be read; similar names are suggested.
    """
    path = (base / Path(text).expanduser()).resolve()
    if path.is_dir():
        raise SourceError(f"{what} {text} is a folder.", where=str(path), fix="give a file in it", code="TFB2002")
    if not path.exists():
        raise SourceError(f"The file {text} does not exist.", where=str(path), fix=_suggestion(path), code="TFB2002")
    try:
        with path.open("rb"):
            return path
    except OSError as exc:
        raise SourceError(f"{what} {text} cannot be read: {exc.strerror}.", where=str(path), code="TFB2002") from exc


def _suggestion(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f"check the path: the folder {path.parent} does not exist"
    names = [p.name for p in path.parent.iterdir() if p.suffix == path.suffix]
    close = difflib.get_close_matches(path.name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else "check the path and its extension"


def file_provenance(path: Path) -> dict[str, Any]:
    """Return the name, size in bytes and sha256 of a file that a model was read from, for bundle.json."""
    entry = FileEntry.of(path)
    return {"file": path.name, "size_bytes": entry.size, "sha256": entry.sha256}
