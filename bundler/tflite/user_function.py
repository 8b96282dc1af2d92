"""User functions that a build calls, named as `module:function` or `file.py:function`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from bundler.errors import UsageError


def find(text: str, base: Path, *, what: str) -> Any:
    """Import and return the function that `text` names.

    Args:
        text: `module:function` or `file.py:function`.
        base: folder that a relative file starts from.
        what: purpose of the function, such as `calibration`, for messages.

    Raises:
        UsageError: the module has no such function.
        SourceError: the file or module does not exist or cannot be imported; the error shows the user's line.
    """
    module_name, _, function_name = text.rpartition(":")
    module = _module(module_name, base, what)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"{module_name} has no function {function_name!r}.", where=text, code="TFB4002")
    return function


def check(text: str, base: Path, *, what: str) -> None:
    """Check the form of `text` and that its file exists, without importing anything. The arguments are those of `find`.

    Raises:
        UsageError: `text` does not have the form module:function.
        SourceError: the file does not exist.
    """
    from bundler.sources.files import find_file

    module, _, function = text.rpartition(":")
    if not module or not function.isidentifier():
        raise UsageError(
            f"The {what} function {text!r} does not have the form module:function.",
            fix="write file.py:function",
            code="TFB4002",
        )
    if module.endswith(".py"):
        find_file(module, base, what=f"The {what} file")


def code_file(text: str, base: Path) -> Path | None:
    """Return the .py file of the function that `text` names; None if the function belongs to an importable module.

    Args:
        text: `module:function` or `file.py:function`.
        base: folder that a relative file starts from.
    """
    name = text.rpartition(":")[0]
    return (base / Path(name).expanduser()).resolve() if name.endswith(".py") else None


def _module(name: str, base: Path, what: str) -> Any:
    from bundler.sources.files import find_file
    from bundler.sources.user_code import import_file, user_code

    if name.endswith(".py"):
        return import_file(find_file(name, base, what=f"The {what} file"))
    with user_code(
        f"The {what} module {name!r} cannot be imported",
        fix="give an importable module or the path of a .py file, then :function",
    ):
        return importlib.import_module(name)
