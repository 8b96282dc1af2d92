"""How much memory is free."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

_STATM = Path("/proc/self/statm")
_MEMINFO = Path("/proc/meminfo")
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def available_bytes() -> float:
    """Return the bytes that processes can still take without swapping, within the container's limit if there is one.

    Infinity where the system does not say: outside of Linux.
    """
    limits = [float("inf")]
    with suppress(OSError):
        known = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text("ascii"), re.MULTILINE)
        limits += [float(known[1]) * 1024] if known else []
    with suppress(OSError, ValueError):  # no cgroup of version 2, or the limit is `max`
        limits.append(float(int(_LIMIT.read_text("ascii")) - int(_USED.read_text("ascii"))))
    return min(limits)


def used_bytes() -> int:
    """Return the bytes of memory that this process occupies; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(_STATM.read_text("ascii").split()[1]) * resource.getpagesize()
    return 0
