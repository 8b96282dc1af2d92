"""Choose gRPC or REST for a target, for both clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal, Protocol

from serving.client.connection import ConnectionSettings
from serving.client.steps import Request
from serving.client.tls_files import read_tls_files
from serving.client.transport import Target
from serving.client.wire_protocol import WireProtocol
from serving.extras import require


class Transport(Protocol):
    """Connections to one server, safe to use from several threads."""

    def send(self, request: Request) -> bytes:
        """Send a request and return the content of its answer; every error is a ServingError."""

    def close(self) -> None:
        """Close the connections; requests in flight end with the error of a closed client."""


class AsyncTransport(Protocol):
    """Connections to one server, which belong to the event loop in which they are made."""

    async def send(self, request: Request) -> bytes:
        """Send a request and return the content of its answer; every error is a ServingError."""

    async def close(self) -> None:
        """Close the connections; requests in flight end with the error of a closed client."""


@dataclass(frozen=True)
class Wire:
    """How a client talks to its server.

    Attributes:
        protocol: the requests and answers.
        connect: makes the connections of `Client`.
        connect_async: makes the connections of `AsyncClient`, in the running event loop.
    """

    protocol: WireProtocol
    connect: Callable[[], Transport]
    connect_async: Callable[[], AsyncTransport]


def wire_to(
    target: Target,
    settings: ConnectionSettings,
    *,
    rest_format: Literal["column", "row"],
    max_response_bytes: int,
) -> Wire:
    """Return how to talk to a server; nothing is connected yet.

    Args:
        target: the server's address.
        settings: how to connect.
        rest_format: form of the JSON over REST.
        max_response_bytes: most bytes of an answer, and of what it is decoded to.

    Raises:
        TargetError: the settings do not fit the target.
        ConfigError: a file of the settings cannot be used.
    """
    files = read_tls_files(settings.tls, target)
    if target.rest:
        from serving.client.rest_protocol import RestProtocol

        rest = RestProtocol(target, settings, row=rest_format == "row", max_response_bytes=max_response_bytes)
        return Wire(rest, partial(_rest, rest, settings, files), partial(_async_rest, rest, settings, files))
    from serving.client.grpc_protocol import GrpcProtocol

    grpc = GrpcProtocol(target, settings, max_response_bytes=max_response_bytes)
    return Wire(grpc, partial(_grpc, grpc, settings, files), partial(_async_grpc, grpc, settings, files))


def import_async(target: Target) -> None:
    """Import what an `AsyncClient` for this target needs, so that its first call does not hold up the event loop.

    Raises:
        MissingExtraError: a package is not installed.
    """
    if target.rest:
        require("async", "AsyncClient over REST")
    import_module("serving.client.async_rest" if target.rest else "serving.client.async_grpc")


def _rest(*arguments: Any) -> Transport:
    from serving.client.rest_transport import RestTransport

    return RestTransport(*arguments)


def _async_rest(*arguments: Any) -> AsyncTransport:
    from serving.client.async_rest import AsyncRestTransport

    return AsyncRestTransport(*arguments)


def _grpc(*arguments: Any) -> Transport:
    from serving.client.grpc_transport import GrpcTransport

    return GrpcTransport(*arguments)


def _async_grpc(*arguments: Any) -> AsyncTransport:
    from serving.client.async_grpc import AsyncGrpcTransport

    return AsyncGrpcTransport(*arguments)
