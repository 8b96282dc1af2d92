"""Before a server is started: are its ports free? After: is every version AVAILABLE?"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping

from serving.client import Client
from serving.errors import (
    ConnectionFailedError,
    DeadlineError,
    LaunchError,
    NotReadyError,
    RequestError,
    ServingError,
    TargetError,
)
from serving.launch.deployment import Deployment

_PAUSES = (0.05, 1.0)
"""First and longest pause between two looks, in seconds."""

_LOOK_SECONDS = 2.0
"""How long a server may take to answer one look."""


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
        LaunchError: the server has ended, or a version's load has failed.
        NotReadyError: not in time; with what was seen last.
    """
    deadline = time.monotonic() + seconds
    pause, longest = _PAUSES
    missing = [(model, version) for model in versions for version in versions[model]]
    with Client(target) as client:
        while True:
            seen: list[str] = []
            for model, version in list(missing):
                state = _look(client, model, version, deadline)
                if state is None:
                    missing.remove((model, version))
                else:
                    seen.append(state)
                if error := ended():
                    raise error
            if not missing:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise _late(seconds, seen, target)
            time.sleep(min(pause, left))
            pause = min(pause * 2, longest)


def _look(client: Client, model: str, version: int, deadline: float) -> str | None:
    """None when the version is available; otherwise what there is of it.

    Raises:
        LaunchError: it has failed to load, and the server does not try again.
    """
    seconds = min(max(deadline - time.monotonic(), 0.05), _LOOK_SECONDS)
    try:
        states = client.status(model, version=version, timeout=seconds)
    except (ConnectionFailedError, DeadlineError) as exc:
        return exc.what
    except RequestError as exc:
        if exc.status not in ("NOT_FOUND", "UNAVAILABLE"):
            raise
        return exc.what
    for state in states:
        if state.available and state.version == version:
            return None
        if state.failed:
            raise LaunchError(
                f"Version {version} of the model {model!r} could not be loaded: {state.error_message}",
                fix="`tfbundle verify DIR` says whether its files are what was built",
            )
    return f"{model}: {'; '.join(map(str, states)) or 'no version'}"


def _late(seconds: float, seen: list[str], target: str) -> NotReadyError:
    states = "".join(f"\n  | {line}" for line in dict.fromkeys(seen))
    return NotReadyError(
        f"The server was not ready within {seconds:g} s:{states}",
        where=target,
        fix="give it longer with --timeout, and read its log above",
    )
