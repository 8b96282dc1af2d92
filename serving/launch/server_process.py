"""An embedded server in a process of its own, for as long as it is needed: what is measured must not share its time."""

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
    """Where a server of this machine listens, and its process."""

    grpc_port: int
    rest_port: int
    pid: int

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"


@contextmanager
def server_process(source: Path | str, flags: Sequence[str] = ()) -> Iterator[ServerEndpoints]:
    """Serve a bundle, a models.config or a model's base path on free ports until the end of the block.

    Args:
        flags: of tensorflow_model_server, `--name=value`; ports in them do not count.

    Raises:
        NotReadyError: the server did not start; with the last lines that it said.
    """
    command = [sys.executable, "-m", "serving.server.child", str(source), *flags]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdin and process.stdout
        try:
            words = process.stdout.readline().split()
            if words[::2] != ["grpc", "rest"]:
                raise NotReadyError(
                    f"The embedded server did not start: {_said(log)}", where=f"{source} {' '.join(flags)}".strip()
                )
            yield ServerEndpoints(int(words[1]), int(words[3]), process.pid)
        finally:
            process.stdin.close()
            process.wait()


def _said(log: IO[str]) -> str:
    log.seek(0)
    return "\n".join(log.read().strip().splitlines()[-_LAST_LINES:])
