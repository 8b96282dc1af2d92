"""The objects in a store that belong to tfbundle and not to the bundle, all below `.tfbundle/`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bundler.bundle.layout import BundleLayout

FOLDER = ".tfbundle"
LEASE = f"{FOLDER}/lease.json"
"""Who writes into the store (`lease`)."""

EMPTY_FOLDERS = f"{FOLDER}/folders.json"
"""The empty folders of the bundle's versions: a store has no folders. It also marks a folder as tfbundle's before the first
bundle.json is written."""

STAGED = f"{FOLDER}/new/"
"""The coming content of generated files, by sha256, until the new bundle.json is there and they can be replaced."""


def empty_folders(layout: BundleLayout) -> list[str]:
    """Return the empty folders in the versions of a bundle on disk, relative to its root."""
    return sorted(
        layout.relative(folder)
        for part in layout.version_folders
        for folder in part.glob("*/*/**")
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
    )


def folders_to_bytes(folders: Iterable[str]) -> bytes:
    """Return the content of the object with the empty folders."""
    return (json.dumps({"empty_folders": sorted(set(folders))}, indent=2) + "\n").encode("utf-8")


def folders_from_bytes(data: bytes) -> list[str]:
    """Return the empty folders of such an object; none if it is not one. Names that lead out of a bundle are left out."""
    try:
        found = json.loads(data)["empty_folders"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [text for text in found if isinstance(text, str) and is_inside(text)] if isinstance(found, list) else []


def is_inside(text: str) -> bool:
    """Return whether a name from a store is a path that stays in the folder that it is relative to, on every system."""
    parts = text.split("/")
    return not any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts) and not Path(text).drive
