"""Many renames as one: after a crash a publication is finished or undone, never half done.

A `Step` renames one file or folder inside the bundle. `run` first writes all steps to `journal.json` (the
point of no return for a crash: everything staged is complete and on disk by then), then takes them in
order. An exception takes them back. `settle` brings a folder that a killed build left behind to one of the
two ends. Each step looks at what is on disk, not at what was noted, so that an interruption at any
instruction is safe and settling twice does no harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

_DO = "journal.json"
_UNDO = "undo.json"


@dataclass(frozen=True)
class Step:
    """Rename `source` to `target`, both relative to the bundle's root.

    Attributes:
        backup: for a target that is to be replaced: a copy of it. Without one the target must not exist.
    """

    source: str
    target: str
    backup: str | None = None


def run(root: Path, staging: Path, steps: Sequence[Step]) -> None:
    """Take all steps or, on any exception (an interruption too), none.

    Args:
        root: the bundle.
        staging: folder of this build inside `root`; the journal is kept there.

    Raises:
        OSError: a rename failed; everything is as it was.
    """
    _write(staging / _DO, steps)
    try:
        for step in steps:
            _do(root, step)
        _sync_parents(root, steps)
    except BaseException:
        settle(root, staging, forward=False)
        raise
    (staging / _DO).unlink()


def settle(root: Path, staging: Path, *, forward: bool = True) -> bool:
    """Finish (or, with forward=False, undo) what a journal in `staging` began; an undo once begun stays an
    undo.

    Returns:
        True if a publication was finished.
    """
    do, undo = staging / _DO, staging / _UNDO
    if not forward and do.exists():
        do.replace(undo)
    if undo.exists():
        steps = _read(undo)
        for step in reversed(steps):
            _undo(root, step)
        _sync_parents(root, steps)
        undo.unlink()
        return False
    if do.exists():
        steps = _read(do)
        for step in steps:
            _do(root, step)
        _sync_parents(root, steps)
        do.unlink()
        return True
    return False


def sync_tree(folder: Path) -> None:
    """Force a folder, everything below it and its entry onto the disk."""
    for parent, _, files in os.walk(folder):
        for name in files:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _do(root: Path, step: Step) -> None:
    source, target = root / step.source, root / step.target
    if _there(source) and (step.backup is not None or not _there(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _undo(root: Path, step: Step) -> None:
    source, target = root / step.source, root / step.target
    if step.backup is not None:
        backup = root / step.backup
        if _there(backup):
            backup.replace(target)
    elif _there(target) and not _there(source):
        source.parent.mkdir(parents=True, exist_ok=True)
        target.replace(source)
    _remove_empty(target.parent, root)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove the folders that a step made for its target, as far as nothing else is in them."""
    with suppress(OSError):  # "directory not empty" ends the climb
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _write(path: Path, steps: Sequence[Step]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps([astuple(step) for step in steps]), "utf-8")
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _read(path: Path) -> list[Step]:
    return [Step(*row) for row in json.loads(path.read_text("utf-8"))]


def _sync_parents(root: Path, steps: Sequence[Step]) -> None:
    for folder in {(root / step.target).parent for step in steps} | {root}:
        if folder.is_dir():
            _sync(folder)


def _sync(path: Path) -> None:
    """fsync a file or folder; folders need it for their entries (rename(2), "durability")."""
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
