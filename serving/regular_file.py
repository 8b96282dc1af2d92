"""Read files that anybody may have put in the place of a config file, without being stopped by what they are.

Opening a FIFO waits for a writer, reading /dev/zero never ends, and a sparse file of a terabyte fills the memory. A thread that
hangs in such a call cannot be ended, so the server could not even be stopped.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CONFIG_LIMIT = 16 * 1024 * 1024
"""Most bytes of a config file."""

_KINDS = {
    stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder",
}  # fmt: skip


class NotRegularError(OSError):
    """A file is not a regular one, or is too large. The error's text says which."""


def read_regular(path: Path | str, limit: int = CONFIG_LIMIT) -> bytes:
    """Return the content of a regular file; symbolic links are followed.

    Args:
        path: the file.
        limit: most bytes that it may have.

    Raises:
        NotRegularError: the file is a FIFO, a device or a socket, or has more than `limit` bytes.
        IsADirectoryError: it is a folder.
        OSError: it cannot be opened or read.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise NotRegularError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return content


def open_regular(path: Path | str, *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: the file.
        follow: whether a symbolic link is followed.

    Raises:
        NotRegularError: the file is a FIFO, a device or a socket.
        IsADirectoryError: it is a folder.
        OSError: it cannot be opened, or is a link that is not followed.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise NotRegularError(errno.EINVAL, f"it is {kind(mode)}, not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def kind(mode: int) -> str:
    """Return what a file of this mode is, as a noun with its article."""
    return _KINDS.get(stat.S_IFMT(mode), "a file")


def special_files(folder: Path | str) -> Iterator[tuple[Path, int]]:
    """Yield path and mode of each file below a folder that is not a regular one. Symbolic links are followed."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        for name in (*folders, *names):
            path = Path(parent, name)
            try:
                entry = path.stat()
            except OSError:  # removed since os.walk, or a broken link
                continue
            if stat.S_ISDIR(entry.st_mode):
                if (entry.st_dev, entry.st_ino) in seen:  # a link back to a folder above it
                    folders.remove(name)
                seen.add((entry.st_dev, entry.st_ino))
            elif not stat.S_ISREG(entry.st_mode):
                yield path, entry.st_mode
