"""Start servers in their own processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.launch.server_process import ServerEndpoints, child_server

ROOT = Path(__file__).parents[2]


@contextmanager
def small_server(*arguments: str) -> Iterator[ServerEndpoints]:
    """Run `tests.serving.small_server` until the end of the block."""
    command = [sys.executable, "-m", "tests.serving.small_server", *arguments]
    with child_server(command, where="tests.serving.small_server", cwd=ROOT) as endpoints:
        yield endpoints
