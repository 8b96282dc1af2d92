"""Runs the user's own code, and turns its exceptions into messages that name the user's file and line."""

from __future__ import annotations

import importlib.util
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bundler.errors import SourceError, TfbundleError
from bundler.process.causes import cause_of

_OURS = str(Path(__file__).parent.parent)


@contextmanager
def user_code(what: str, *, fix: str | None = None) -> Iterator[None]:
    """Turn what the block raises into a SourceError that starts with `what` and names the user's line.

    Args:
        what: what is run, at the start of the message.
        fix: what the user can do.

    Raises:
        SourceError: the block raises any exception other than KeyboardInterrupt or one of tfbundle's own errors.
    """
    try:
        yield
    except TfbundleError:
        raise
    except (Exception, SystemExit) as exc:
        raise SourceError(f"{what}: {first_line(exc)}", where=user_line(exc), fix=fix, code="TFB2004") from exc


def first_line(exc: BaseException) -> str:
    """Return `Type: cause` of an exception; the cause is the first line of most messages."""
    if isinstance(exc, SyntaxError):
        return f"SyntaxError: {exc.msg}"
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    if lines and lines[0].startswith("The following operation failed in the TorchScript interpreter"):
        return lines[-1]
    return f"{type(exc).__name__}: {cause_of(exc)}" if lines else type(exc).__name__


def user_line(exc: BaseException) -> str | None:
    """Return `file:line: code` of the innermost frame in the user's code, else in a library other than torch, else None."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}:{exc.lineno}: {(exc.text or '').strip()}"
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(exc.__traceback__)]
    user = [frame for frame in frames if is_user_file(frame[0])]
    library = [frame for frame in frames if "site-packages" in frame[0] and f"{os.sep}torch{os.sep}" not in frame[0]]
    if not (user or library):
        return None
    filename, line = (user or library)[-1]
    return f"{filename}:{line}: {linecache.getline(filename, line).strip()}"


def is_user_file(filename: str) -> bool:
    """Return True if a file is the user's: not part of an installed package, of Python's library, or of tfbundle."""
    if filename.startswith(("<", _OURS)):
        return False
    parts = Path(filename).parts
    return "site-packages" not in parts and "dist-packages" not in parts and not _in_stdlib(filename)


def _in_stdlib(filename: str) -> bool:
    import sysconfig

    return filename.startswith(sysconfig.get_path("stdlib"))


def import_file(path: Path, prefix: str = "tfbundle_source_") -> ModuleType:
    """Import a Python file as a module.

    Its folder is added to sys.path and stays there, for imports that `forward` makes.

    Args:
        path: the file.
        prefix: the start of the module's name, which ends with that of the file.

    Raises:
        SourceError: the file is not a Python file, or raises; the message names the user's line.
    """
    name = f"{prefix}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SourceError(f"{path} cannot be imported.", fix="give a .py file", code="TFB2003")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    with user_code(f"{path.name} cannot be imported", fix="run it with python to see the whole traceback"):
        spec.loader.exec_module(module)
    return module
