"""Start servers in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.launch.server_process import server_process

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ports:
    grpc: int
    rest: int

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    @property
    def rest_target(self) -> str:
        return f"http://127.0.0.1:{self.rest}"


@contextmanager
def small_server(*arguments: str) -> Iterator[Ports]:
    """A server that prints `grpc PORT rest PORT` once it answers, and ends with its standard input."""
    command = [sys.executable, "-m", "tests.serving.small_server", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin and process.stdout
        try:
            words = process.stdout.readline().split()
            assert words[::2] == ["grpc", "rest"], f"{command} said {words}"
            yield Ports(int(words[1]), int(words[3]))
        finally:
            process.stdin.close()
            process.wait(timeout=20)


@contextmanager
def embedded_server(source: Path) -> Iterator[Ports]:
    """The embedded server on a bundle, a models.config or the base path of one model."""
    with server_process(source) as endpoints:
        yield Ports(endpoints.grpc_port, endpoints.rest_port)
