"""Ports that are in use, found before the models are loaded, which can take minutes."""

from __future__ import annotations

import errno
import socket

from serving.errors import ConfigError
from serving.server.config.options import ServerOptions

_UNUSABLE = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)


def check_ports(options: ServerOptions) -> None:
    """Check that the gRPC and REST ports can be opened, by opening and closing them.

    Other processes may take a port before the server opens it; that is an error, too, but a later one.

    Raises:
        ConfigError: a port is in use, or this user must not open it.
    """
    if options.grpc_port:
        _check(options.host, options.grpc_port, "gRPC", "--port (grpc_port in Python)")
    if options.rest_port:
        _check(options.host, options.rest_port, "REST", "--rest_api_port (rest_port in Python)")


def _check(host: str, port: int, interface: str, flag: str) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last connections linger is free
            probe.bind(address)
    except OSError as exc:
        if exc.errno in _UNUSABLE:
            raise ConfigError(
                f"{interface} cannot listen on {f'[{host}]' if ':' in host else host}:{port}: {exc.strerror}.",
                fix=f"stop the process that uses it, or choose another port with {flag}",
                code="TFB6004",
            ) from exc
