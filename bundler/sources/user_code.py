"""Runs the user's own code and turns what it raises into one line that names their file and line."""

from __future__ import annotations

import linecache
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundler.errors import SourceError, TfbundleError

_OURS = str(Path(__file__).parent.parent)


@contextmanager
def user_code(what: str, *, fix: str | None = None) -> Iterator[None]:
    """What the block raises becomes a SourceError: `what` raised X, at the user's line.

    Raises:
        SourceError: for every exception but KeyboardInterrupt and tfbundle's own errors.
    """
    try:
        yield
    except TfbundleError:
        raise
    except (Exception, SystemExit) as exc:
        raise SourceError(f"{what}: {first_line(exc)}", where=user_line(exc), fix=fix) from exc


def first_line(exc: BaseException) -> str:
    """`Type: first line of the message`."""
    if isinstance(exc, SyntaxError):
        return f"SyntaxError: {exc.msg}"
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    if lines and lines[0].startswith("The following operation failed in the TorchScript interpreter"):
        return lines[-1]
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__


def user_line(exc: BaseException) -> str | None:
    """`file:line: code` of the innermost frame of the user, else of a library that is not torch; else None."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}:{exc.lineno}: {(exc.text or '').strip()}"
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(exc.__traceback__)]
    own = [frame for frame in frames if is_user_file(frame[0])]
    library = [frame for frame in frames if "site-packages" in frame[0] and f"{os.sep}torch{os.sep}" not in frame[0]]
    if not (own or library):
        return None
    filename, line = (own or library)[-1]
    return f"{filename}:{line}: {linecache.getline(filename, line).strip()}"


def is_user_file(filename: str) -> bool:
    """Whether a frame's file is the user's: not of an installed package, Python's library, or tfbundle."""
    if filename.startswith(("<", _OURS)):
        return False
    parts = Path(filename).parts
    return "site-packages" not in parts and "dist-packages" not in parts and not _in_stdlib(filename)


def _in_stdlib(filename: str) -> bool:
    import sysconfig

    return filename.startswith(sysconfig.get_path("stdlib"))
