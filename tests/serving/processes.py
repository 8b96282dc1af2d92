"""`python -m serving.server` in a process of its own, as it is started in production."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from tests.serving.servers import ROOT, Ports

SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@dataclass(frozen=True)
class ServerProcess(Ports):
    process: subprocess.Popen[bytes]

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def server_process(
    *flags: str, grpc_port: int = 0, rest_port: int = 0, stderr: IO[bytes] | None = None, wrapper: tuple[str, ...] = ()
) -> Iterator[ServerProcess]:
    """The server, once its REST port (the later one) is open; killed at the end.

    Args:
        stderr: where its log goes; None shows it with the test's output.
        wrapper: a command that runs the server, as `prlimit --fsize=4096`.
    """
    ports = (grpc_port or free_port(), rest_port or free_port())
    command = [*wrapper, sys.executable, "-m", "serving.server", f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    process = subprocess.Popen([*command, *flags], cwd=ROOT, stdout=stderr, stderr=stderr)
    try:
        _wait_for_port(process, ports[1])
        yield ServerProcess(*ports, process)
    finally:
        process.kill()
        process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not open its port")


@contextmanager
def threads(*targets: object) -> Iterator[None]:
    """Callables, each in a thread, joined at the end."""
    started = [threading.Thread(target=target) for target in targets]  # type: ignore[arg-type]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        for thread in started:
            thread.join()
