"""The folder for what tfbundle keeps between runs and can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_ENV = "TFBUNDLE_CACHE_DIR"
"""The environment variable with the folder for what tfbundle keeps between runs."""


def cache_dir() -> Path:
    """Return the folder for what tfbundle keeps between runs: that of the environment variable, or the system's usual one.

    The latter is `tfbundle` in `$XDG_CACHE_HOME` or `~/.cache`, in `~/Library/Caches` on macOS, in `%LOCALAPPDATA%` on Windows.
    """
    own = os.environ.get(CACHE_ENV)
    if own:
        return Path(own).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tfbundle"
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    parent = Path(os.environ.get(variable, ""))
    return (parent if parent.is_absolute() else Path.home() / ".cache") / "tfbundle"
