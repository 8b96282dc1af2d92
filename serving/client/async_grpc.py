"""A gRPC channel to one server for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from serving.client.grpc_protocol import GrpcProtocol
from serving.client.grpc_transport import open_channel
from serving.client.steps import Request
from serving.client.transport import Target, closed


class AsyncGrpcTransport:
    """A channel to one server, for all tasks of the running event loop.

    Args:
        target: the server's address.
        protocol: the options of the channel, and the errors of its calls.
        root_certificates: PEM of the certificate authority to trust, for a `grpcs://` target; None trusts the system's.
    """

    def __init__(self, target: Target, protocol: GrpcProtocol, root_certificates: bytes | None = None) -> None:
        self._target = target
        self._protocol = protocol
        self._channel: grpc.aio.Channel = open_channel(grpc.aio, target, protocol, root_certificates)
        self._calls: dict[str, Callable[..., Any]] = {}
        self._is_closed = False

    async def send(self, request: Request) -> bytes:
        """Send a serialized request, with the headers of the model version, and return the serialized answer.

        Raises:
            ServingError: the call failed, see `GrpcProtocol.error`.
        """
        path = request.path
        if self._is_closed:
            raise closed(str(self._target))
        if path not in self._calls:
            # Without serializers, bytes are sent and returned unchanged.
            self._calls[path] = self._channel.unary_unary(path, None, None)
        call = self._calls[path](request.body, timeout=request.timeout, metadata=request.headers)
        try:
            # Awaiting the call itself raises CancelledError also when the channel was closed, and not only for a cancelled task.
            status = await call.code()
        except asyncio.CancelledError:
            call.cancel()
            raise
        if status is not grpc.StatusCode.OK:
            raise self._protocol.error(request, status.name, await call.details() or "", is_closed=self._is_closed)
        data: bytes = await call
        return data

    async def close(self) -> None:
        """Close the channel, which cancels its calls."""
        self._is_closed = True
        await self._channel.close(None)
