"""An embedded server in its own process for as long as it is needed, so that measurements do not share its time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from serving.errors import NotReadyError

_LAST_LINES = 8


@dataclass(frozen=True)
class ServerEndpoints:
    """Ports of a server on this machine, and the id of its process."""

    grpc_port: int
    rest_port: int
    pid: int

    @property
    def grpc_target(self) -> str:
        """`host:port` for a client over gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def rest_target(self) -> str:
        """URL for a client over REST."""
        return f"http://127.0.0.1:{self.rest_port}"


@contextmanager
def server_process(source: Path | str, flags: Sequence[str] = ()) -> Iterator[ServerEndpoints]:
    """Serve on free ports until the end of the block.

    Args:
        source: a bundle, a models.config or a model's base path.
        flags: flags of tensorflow_model_server, `--name=value`; ports among them are ignored.

    Raises:
        NotReadyError: the server did not start; with the last lines of its log.
    """
    command = [sys.executable, "-m", "serving.server.child", str(source), *flags]
    with child_server(command, where=f"{source} {' '.join(flags)}".strip()) as endpoints:
        yield endpoints


@contextmanager
def child_server(command: Sequence[str], *, where: str, cwd: Path | None = None) -> Iterator[ServerEndpoints]:
    """Run a server that prints `grpc PORT rest PORT` when it answers and that ends when its standard input closes.

    Args:
        command: the command that starts it.
        where: what it serves, for the error.
        cwd: folder to run it in; None for the current one.

    Raises:
        NotReadyError: the server did not print its ports; with the last lines of its log.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin and process.stdout
        try:
            words = process.stdout.readline().split()
            if words[::2] != ["grpc", "rest"]:
                raise NotReadyError(
                    f"The embedded server did not start: {_last_lines(log)}", where=where, code="TFB6205"
                )
            yield ServerEndpoints(int(words[1]), int(words[3]), process.pid)
        finally:
            process.stdin.close()
            process.wait()


def _last_lines(log: IO[str]) -> str:
    log.seek(0)
    return "\n".join(log.read().strip().splitlines()[-_LAST_LINES:])
