"""Debug mode: errors are printed with their tracebacks, and libraries may log."""

from __future__ import annotations

import os

DEBUG_ENV = "TFBUNDLE_DEBUG"


def debugging() -> bool:
    """Return whether debug mode is on."""
    return os.environ.get(DEBUG_ENV, "") not in ("", "0")
