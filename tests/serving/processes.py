"""`python -m serving.server` in its own process, as it is started in production."""

from __future__ import annotations

import resource
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

from serving.launch.server_process import ServerEndpoints
from tests.serving.servers import ROOT

SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True)
class ServerProcess(ServerEndpoints):
    """Endpoints of a server and its process."""

    process: subprocess.Popen[bytes]

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def server_process(
    *flags: str,
    grpc_port: int = 0,
    rest_port: int = 0,
    stderr: IO[bytes] | None = None,
    wrapper: tuple[str, ...] = (),
    memory_bytes: int = 0,
) -> Iterator[ServerProcess]:
    """Run the server until the end of the block; yield once its REST port, the last one, is open.

    Args:
        stderr: where its log goes; None shows it in the test's output.
        wrapper: a command that runs the server, e.g. `prlimit --fsize=4096`.
        memory_bytes: the most address space that it may take, on Linux; 0 for any.
    """
    ports = (grpc_port or free_port(), rest_port or free_port())
    command = [*wrapper, sys.executable, "-m", "serving.server", f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    process = subprocess.Popen([*command, *flags], cwd=ROOT, stdout=stderr, stderr=stderr)
    try:
        if memory_bytes and sys.platform == "linux":
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        _wait_for_port(process, ports[1])
        yield ServerProcess(*ports, process.pid, process)
    finally:
        process.kill()
        process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not open its port")


@contextmanager
def threads(*targets: object) -> Iterator[None]:
    """Run each callable in a thread, and join the threads at the end of the block."""
    started = [threading.Thread(target=target) for target in targets]  # type: ignore[arg-type]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        for thread in started:
            thread.join()
