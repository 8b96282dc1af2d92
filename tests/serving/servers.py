"""Start `small_server` in a process of its own."""

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
    command = [sys.executable, "-m", "tests.serving.small_server", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin and process.stdout
        try:
            words = process.stdout.readline().split()
            yield Ports(int(words[1]), int(words[3]))
        finally:
            process.stdin.close()
            process.wait(timeout=20)
