"""Whether errors are shown with their tracebacks."""

from __future__ import annotations

import os

_DEBUG_ENV = "TFBUNDLE_DEBUG"


def debugging() -> bool:
    return os.environ.get(_DEBUG_ENV, "") not in ("", "0")
