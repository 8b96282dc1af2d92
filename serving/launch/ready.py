"""Before a server is started: are its ports free? After: is every version AVAILABLE?"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping

from serving.client.client import Client
from serving.errors import ServingError, TargetError
from serving.launch.deployment import Deployment

_LEAST_SECONDS = 0.05
"""For the version whose turn comes when the time is over: it may be available all the same."""


def check_ports(deployment: Deployment, host: str) -> None:
    """See that the ports of a deployment are free.

    Raises:
        TargetError: one is not, may not be used, or this machine has no such address.
    """
    for kind, flag, port in (("gRPC", "--port", deployment.grpc_port), ("REST", "--rest-port", deployment.rest_port)):
        try:
            _bind(host, port)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                what, fix = f"Port {port} of {host}, for {kind}, is in use.", f"stop what uses it, or choose another with {flag}"
            else:
                what = f"The server cannot listen on {host}:{port}, for {kind}: {exc.strerror or exc}."
                fix = f"choose another port with {flag}, or another address with --host"
            raise TargetError(what, fix=fix) from exc


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # A port whose last connections linger (TIME_WAIT) can be listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def wait_until_available(
    target: str,
    versions: Mapping[str, tuple[int, ...]],
    *,
    seconds: float,
    ended: Callable[[], ServingError | None],
) -> None:
    """Wait until the server says by GetModelStatus that every version of every model is AVAILABLE.

    Args:
        target: `host:port` of its gRPC port.
        seconds: for all of them together.
        ended: why the server runs no more, None while it does.

    Raises:
        ServingError: the one that `ended` tells.
        NotReadyError: not in time, or a version's load has failed; with what was seen last.
    """
    deadline = time.monotonic() + seconds
    with Client(target) as client:
        for model, numbers in versions.items():
            for version in numbers:
                left = max(deadline - time.monotonic(), _LEAST_SECONDS)
                client.wait_until_ready(model, version, left, ended=ended)
