"""Run a command in a network of its own, with nothing but a loopback: `python -m tests.own_network COMMAND…`.

It needs Linux with user namespaces. Elsewhere, and in containers that forbid them, the command runs in the machine's network.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def leave() -> bool:
    """Move this process into a network of its own; return whether that is allowed."""
    if sys.platform != "linux":
        return False
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with suppress(PermissionError):
            Path("/proc/self", file).write_text(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
        fcntl.ioctl(loopback, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))
    return True


if __name__ == "__main__":
    leave()
    os.execvp(sys.argv[1], sys.argv[1:])
