"""`python -m serving.server.child SOURCE [--FLAG=VALUE]...`: an embedded server for the process that started it.

Picks free ports, prints `grpc PORT rest PORT` once it answers, and ends when its standard input is closed. It is started by
`serving.launch.server_process`.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from serving.errors import ServingError
from serving.imports import leave_keras_out
from serving.protocol.status import StatusError
from serving.server.config.flags import read_flags
from serving.server.observability.log_limits import limit_lines
from serving.server.server import Server

_PORTS = ("grpc_port", "rest_port")


def main(arguments: list[str]) -> int:
    """Serve until standard input is closed.

    Args:
        arguments: the source to serve (see `serving.server.Server`), then flags of tensorflow_model_server.

    Returns:
        The exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    leave_keras_out()
    if logging.lastResort is not None:
        limit_lines(logging.lastResort)
    source, *flags = arguments
    try:
        options = {name: value for name, value in read_flags(flags).items() if name not in _PORTS}
        with Server(Path(source), grpc_port=0, rest_port=0, **options) as server:
            print("grpc", server.grpc_port, "rest", server.rest_port, flush=True)
            sys.stdin.read()
    except (ServingError, StatusError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
