"""One large message at a time is read or written.

Each step of that (parsing a message, taking an array out of it, serializing an answer) is one call of a C library, which copies
all bytes while it holds Python's lock: half a millisecond per MiB. Several threads that do so take the lock from each other, so
a small request would wait for all of them wherever it needs the lock. Here it waits for one at most.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

LARGE = 4 * 2**20
"""Bytes from which on a message waits for its turn."""

_turn = threading.Lock()
_no_turn = nullcontext()


def one_at_a_time(size: int) -> AbstractContextManager[Any]:
    """Return a context in which no other large message is read or written.

    Contexts must not be nested, and run no model.

    Args:
        size: bytes of the message.
    """
    return _turn if size >= LARGE else _no_turn
