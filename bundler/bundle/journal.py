"""Many renames as one: after a crash a publication is finished or undone, never left half done.

A `Step` renames one file or folder inside the bundle. `run` first writes all steps to `journal.json`; everything staged is
complete and on disk by then, so a crash from this point on leads to a finished publication. Then it takes the steps in
order; an exception undoes them. `settle` finishes or undoes what a killed build left behind. Each step looks at the disk
and not at notes, so an interruption at any instruction is safe, and settling twice does no harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath

from serving.regular_file import open_regular
from serving.texts import is_utf8

_DO = "journal.json"
_UNDO = "undo.json"
_MAX_BYTES = 16 << 20


class JournalError(ValueError):
    """Steps that lead out of the bundle, or a journal that cannot be read."""


@dataclass(frozen=True)
class Step:
    """Rename `source` to `target`, both relative to the bundle's root.

    Attributes:
        backup: a copy of the target, if the step replaces one; without a backup the target must not exist.
    """

    source: str
    target: str
    backup: str | None = None


def run(root: Path, staging: Path, steps: Sequence[Step]) -> None:
    """Take all steps or, on any exception (KeyboardInterrupt included), none.

    Args:
        root: the bundle.
        staging: folder of this build inside `root`; the journal is kept there.
        steps: the renames, in order.

    Raises:
        JournalError: a step leads out of the bundle; nothing has been renamed.
        OSError: a rename failed; the bundle is unchanged.
    """
    _check(root, staging, steps)
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
    """Finish what a journal in `staging` started, or undo it with forward=False; an undo that has started stays an undo.

    Returns:
        True if a publication was finished.

    Raises:
        JournalError: the journal is not one that `run` writes, or a step leads out of the bundle; nothing has been renamed.
    """
    do, undo = staging / _DO, staging / _UNDO
    if not forward and do.exists():
        do.replace(undo)
    if undo.exists():
        steps = _read(undo, root)
        for step in reversed(steps):
            _undo(root, step)
        _sync_parents(root, steps)
        undo.unlink()
        return False
    if do.exists():
        steps = _read(do, root)
        for step in steps:
            _do(root, step)
        _sync_parents(root, steps)
        do.unlink()
        return True
    return False


def pending(root: Path, staging: Path) -> tuple[list[Step], bool] | None:
    """Return the steps of an unfinished publication and whether they are being undone; None if there is none.

    Raises:
        JournalError: as `settle` does.
    """
    for name, undoes in ((_UNDO, True), (_DO, False)):
        with suppress(FileNotFoundError):
            return _read(staging / name, root), undoes
    return None


def sync_tree(folder: Path) -> None:
    """Force a folder, everything below it and its entry onto the disk."""
    for parent, _, files in os.walk(folder):
        for name in files:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _do(root: Path, step: Step) -> None:
    source, target = root / step.source, root / step.target
    if _exists(source) and (step.backup is not None or not _exists(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _undo(root: Path, step: Step) -> None:
    source, target = root / step.source, root / step.target
    if step.backup is not None:
        backup = root / step.backup
        if _exists(backup):
            backup.replace(target)
    elif _exists(target) and not _exists(source):
        source.parent.mkdir(parents=True, exist_ok=True)
        target.replace(source)
    _remove_empty(target.parent, root)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove the folders that a step created for its target, as far as they are empty."""
    with suppress(OSError):  # "directory not empty" ends the climb
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _write(path: Path, steps: Sequence[Step]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps([astuple(step) for step in steps]), "utf-8")
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _read(path: Path, root: Path) -> list[Step]:
    """Return the steps of a journal. Anybody may have written it, as a bundle can come from anywhere."""
    try:
        with open_regular(path, follow=False) as file:
            rows = json.loads(file.read(_MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise JournalError(f"it cannot be read ({exc.strerror})") from exc
    except (ValueError, RecursionError) as exc:
        raise JournalError(f"it is not JSON ({exc})") from exc
    if not isinstance(rows, list) or not all(map(_is_step, rows)):
        raise JournalError("it is not a list of renames")
    steps = [Step(*row) for row in rows]
    _check(root, path.parent, steps)
    return steps


def _is_step(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 3:
        return False
    return all(isinstance(path, str) for path in row[:2]) and isinstance(row[2], str | None)


def _check(root: Path, staging: Path, steps: Sequence[Step]) -> None:
    """Raise JournalError unless every step is one that a build takes, inside the bundle, with no symbolic link on the way.

    A step moves a file out of the staging folder or into it, or gives an edited file another name in its folder. bundle.json is
    replaced, but never moved away.
    """
    for step in steps:
        for text in (step.source, step.target, *filter(None, [step.backup])):
            path = PurePosixPath(text)
            if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in text or not is_utf8(text):
                raise JournalError(f"the path {text!r} leads out of the bundle")
            for parent in path.parents:
                if (root / parent).is_symlink() and parent.parts:
                    raise JournalError(f"the path {text!r} leads through the symbolic link {str(parent)!r}")
        source, target = PurePosixPath(step.source), PurePosixPath(step.target)
        if source == PurePosixPath("bundle.json"):
            raise JournalError("no build moves bundle.json away")
        own = staging.relative_to(root).as_posix()
        if step.backup is not None and PurePosixPath(step.backup).parts[:1] != (own,):
            raise JournalError(f"no build keeps a backup in {step.backup!r}")
        is_staged = own in (source.parts[0], target.parts[0])
        if not is_staged and (source.parent != target.parent or not target.name.startswith(f"{source.name}.orig")):
            raise JournalError(f"no build renames {step.source!r} to {step.target!r}")


def _sync_parents(root: Path, steps: Sequence[Step]) -> None:
    for folder in {(root / step.target).parent for step in steps} | {root}:
        if folder.is_dir():
            _sync(folder)


def _sync(path: Path) -> None:
    """Force a file or folder onto the disk; a folder holds the names of its entries (see fsync(2))."""
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
