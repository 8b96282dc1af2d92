"""Files and links in a bundle that anybody may have made: what is opened, and what a symbolic link leads to."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath

from bundler.errors import VerifyError
from serving.regular_file import kind


def link_on(root: Path, relative: str) -> str | None:
    """Return the first part of a path that is a symbolic link, relative to `root`; None if none is, or none can be seen."""
    path = PurePosixPath()
    with suppress(PermissionError):
        for part in PurePosixPath(relative).parts:
            path /= part
            if (root / path).is_symlink():
                return str(path)
    return None


def leads_out(root: Path, relative: str) -> bool:
    """Return whether a path below `root` leads out of it through symbolic links, or in a circle."""
    try:
        return not (root / relative).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # Python before 3.13 raises RuntimeError for a circle
        return True


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file at `target` with the content of another one, as a hard link where possible; missing folders are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, or files of another user (sysctl fs.protected_hardlinks)
        shutil.copy2(source, target)


def own_file(root: Path, path: Path) -> Path:
    """Return the path of a file of the bundle at `root`, if reading it reads the bundle and nothing else.

    Raises:
        VerifyError: a symbolic link on the way leads out of the bundle, or the path is that of a FIFO, socket or device.
    """
    relative = path.relative_to(root).as_posix()
    link = link_on(root, relative)
    if link is not None and leads_out(root, relative):
        raise VerifyError(
            f"{relative} leads out of the bundle through the symbolic link {link!r} and is not read.",
            where=str(root),
            fix="put a real folder or file in the place of the link",
            code="TFB5003",
        )
    if path.exists() and not path.is_file():
        raise VerifyError(f"{relative} is {kind(path.stat().st_mode)} and not a file.", where=str(root), code="TFB5003")
    return path
