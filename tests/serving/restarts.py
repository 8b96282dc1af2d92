"""A small server that is killed and started again on the same port."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from serving.launch.server_process import ServerEndpoints
from tests.serving.processes import free_port
from tests.serving.servers import small_server


class Restarted:
    """A server in another process; the port of `kind`, grpc or rest, stays the same.

    Args:
        kind: grpc or rest.
    """

    def __init__(self, kind: str) -> None:
        self._port = free_port()
        self._flag = f"--{kind}-port"
        self._running = ExitStack()
        self._endpoints: ServerEndpoints | None = None
        self.target = f"{'http://' if kind == 'rest' else ''}127.0.0.1:{self._port}"

    def __enter__(self) -> Restarted:
        self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._running.close()

    def start(self) -> None:
        self._endpoints = self._running.enter_context(small_server(self._flag, str(self._port)))

    def kill(self) -> None:
        assert self._endpoints
        os.kill(self._endpoints.pid, signal.SIGKILL)


@contextmanager
def soon(action: Callable[[], None], seconds: float = 0.5) -> Iterator[None]:
    """Do something while the block runs."""
    timer = threading.Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()
