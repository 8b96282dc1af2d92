"""Return the memory of unloaded versions and of large requests to the system."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any


def freeze() -> None:
    """Exclude all current objects from garbage collection (gc.freeze): TensorFlow's import creates hundreds of thousands.

    For a process that only serves, before it loads a model.
    """
    gc.collect()
    gc.freeze()


def release() -> None:
    """Return free pages of the C heap to the system, in about 3 ms.

    glibc keeps freed memory in its arenas until `malloc_trim` returns it (malloc_trim(3)). After twelve loads of a 20 MB
    model, 170 MB are kept without this call and 20 MB with it. The Python objects of an unloaded graph refer to each other,
    0.4 MB for a small model, so they wait for a garbage collection. It runs here only after `freeze`, which keeps it short;
    otherwise it would stall requests for 200 ms.
    """
    if gc.get_freeze_count():
        gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


_PAUSE = 0.5
_pending = threading.Lock()


def release_soon() -> None:
    """Call `release` in half a second in a thread of its own. Further calls in that time do nothing.

    For the end of a large request, whose freed memory glibc would keep.
    """
    if _pending.acquire(blocking=False):
        timer = threading.Timer(_PAUSE, _release_now)
        timer.daemon = True
        timer.start()


def _release_now() -> None:
    _pending.release()
    release()


def resident() -> int:
    """Return the bytes of memory that the process occupies; 0 where the system does not tell (outside Linux)."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@cache
def _malloc_trim() -> Any:
    """Return glibc's malloc_trim; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
