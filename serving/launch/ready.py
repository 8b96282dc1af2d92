"""Check that a server's ports are free before it starts, and wait for its versions afterwards."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping

from serving.client.client import Client
from serving.errors import ServingError, TargetError
from serving.launch.deployment import Deployment

_LEAST_SECONDS = 0.05
"""Time for a version whose turn comes after the deadline, since it may be available already."""


def check_ports(deployment: Deployment, host: str) -> None:
    """Check that the ports of a deployment are free.

    Args:
        deployment: the ports.
        host: the address that the server listens on.

    Raises:
        TargetError: a port is in use or not allowed, or this machine does not have the address.
    """
    for kind, flag, port in (("gRPC", "--port", deployment.grpc_port), ("REST", "--rest-port", deployment.rest_port)):
        try:
            _bind(host, port)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                what = f"Port {port} of {host}, for {kind}, is in use."
                fix = f"stop the program that uses it, or choose another port with {flag}"
            else:
                what = f"The server cannot listen on {host}:{port}, for {kind}: {exc.strerror or exc}."
                fix = f"choose another port with {flag}, or another address with --host"
            raise TargetError(what, fix=fix, code="TFB6004") from exc


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # Lets a port be used whose last connections linger (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def wait_until_available(
    target: str,
    versions: Mapping[str, tuple[int, ...]],
    *,
    seconds: float,
    ended: Callable[[], ServingError | None],
) -> None:
    """Wait until GetModelStatus reports every version of every model as AVAILABLE.

    Args:
        target: `host:port` of the server's gRPC port.
        versions: model -> versions to wait for.
        seconds: time for all of them together.
        ended: returns why the server has ended, or None while it runs.

    Raises:
        ServingError: the error that `ended` returned.
        NotReadyError: a version was not available in time, or could not be loaded; with its last known state.
    """
    deadline = time.monotonic() + seconds
    with Client(target) as client:
        for model, numbers in versions.items():
            for version in numbers:
                remaining = max(deadline - time.monotonic(), _LEAST_SECONDS)
                client.wait_until_ready(model, version, remaining, ended=ended)
