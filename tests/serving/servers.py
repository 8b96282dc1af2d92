"""Start servers in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
    with _started([sys.executable, "-m", "tests.serving.small_server", *arguments]) as ports:
        yield ports


@contextmanager
def _started(command: list[str]) -> Iterator[Ports]:
    """A server that prints `grpc PORT rest PORT` once it answers, and ends with its standard input."""
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


_EMBEDDED = """
import sys
from serving import Server
with Server(sys.argv[1], grpc_port=0, rest_port=0) as server:
    print("grpc", server.grpc_port, "rest", server.rest_port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def embedded_server(source: Path) -> Iterator[Ports]:
    """The embedded server on a bundle, a models.config or the base path of one model."""
    with _started([sys.executable, "-c", _EMBEDDED, str(source)]) as ports:
        yield ports
