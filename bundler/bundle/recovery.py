"""Publications that a killed command left half done: how to notice, name and finish them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle import journal
from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import Staging, staging_folders
from bundler.errors import VerifyError
from serving.texts import shell_command

_PATIENCE = 10.0  # seconds; a publication consists of renames and takes milliseconds


@dataclass(frozen=True)
class HalfPublished:
    """A publication that was begun and neither finished nor undone.

    Attributes:
        root: the bundle.
        folder: name of the staging folder that has its journal.
        paths: the files and folders that it renames, relative to the bundle.
        undoes: whether it is being undone.
    """

    root: Path
    folder: str
    paths: frozenset[str]
    undoes: bool

    def covers(self, path: str) -> bool:
        """Return whether a path, or a folder that it is in, is one that the publication renames."""
        return any(path == renamed or path.startswith(f"{renamed}/") for renamed in self.paths)

    def __str__(self) -> str:
        """Return what happened and how to repair it, as a clause without a full stop."""
        owners = sorted({owner for path in self.paths if (owner := version_of(path))})
        subject = " and ".join(f"version {number} of {model!r}" for model, number in owners) or "changed files"
        verb, outcome = ("undoing the publication of", "undoes it") if self.undoes else ("publishing", "finishes it")
        advice = f"`{shell_command('tfbundle', 'verify', self.root, '--repair')}` {outcome}, and so does the next build"
        return f"a command was killed while {verb} {subject}; {advice}"


def half_published(root: Path, folder: Path) -> HalfPublished | None:
    """Return the unfinished publication of a staging folder in the bundle at `root`, or None if it has none.

    Raises:
        JournalError: its journal is not one that a build wrote.
    """
    found = journal.pending(root, folder)
    if found is None or not found[0]:
        return None
    steps, undoes = found
    paths = frozenset(path for step in steps for path in (step.source, step.target) if not path.startswith(folder.name))
    return HalfPublished(root, folder.name, paths, undoes)


def wait_until_published(root: Path) -> None:
    """Return once no publication is under way in a bundle, so that its parts belong together.

    Raises:
        VerifyError: a command was killed while publishing, or a publication does not end within ten seconds.
    """
    deadline = time.monotonic() + _PATIENCE
    layout = BundleLayout(root)
    while found := _first(root):
        if not is_locked(layout) and (again := _first(root)):
            raise VerifyError(
                f"{root} is half published: {again}.",
                fix=f"run `{shell_command('tfbundle', 'verify', root, '--repair')}`",
                code="TFB5006",
            )
        if time.monotonic() > deadline:
            raise VerifyError(
                f"{root} is being written by another command.",
                where=found.folder,
                fix="wait until it ends",
                code="TFB5005",
            )
        time.sleep(0.05)


def _first(root: Path) -> HalfPublished | None:
    try:
        return next((found for folder in staging_folders(root) if (found := half_published(root, folder))), None)
    except journal.JournalError as exc:
        raise VerifyError(
            f"{root} has a staging folder with a journal that no build of this bundle wrote: {exc}.",
            fix=f"run `{shell_command('tfbundle', 'verify', root)}` for details",
            code="TFB5006",
        ) from exc


def is_locked(layout: BundleLayout) -> bool:
    """Return whether a running command holds a bundle's lock. Nothing is written, and a link is not followed."""
    import fcntl

    try:
        handle = os.open(layout.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def repair(root: Path) -> tuple[str, ...]:
    """Finish or undo what a killed command left half done, and remove staging folders.

    Returns:
        What was done, as notices for the user.

    Raises:
        PublishError: the bundle cannot be written, a journal is not one that a build wrote, or a build is running.
        VerifyError: `root` is not a bundle, or is a damaged one.
    """
    left = [folder.name for folder in staging_folders(root)]
    if not left:
        Manifest.read(BundleLayout(root).manifest)
    with Staging(root) as staging:
        notices = staging.notices
    return (*notices, *(f"Removed {name}." for name in left))
