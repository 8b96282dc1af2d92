"""gRPC channels to one server for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from serving.client.connection import ConnectionSettings
from serving.client.grpc_protocol import GrpcProtocol
from serving.client.grpc_transport import Calls, open_channels
from serving.client.steps import Request
from serving.client.tls_errors import diagnose
from serving.client.tls_files import TlsFiles
from serving.client.transport import closed
from serving.errors import ConnectionFailedError, ServingError


class AsyncGrpcTransport:
    """Channels to one server, for all tasks of the running event loop; arguments as in `GrpcTransport`."""

    def __init__(self, protocol: GrpcProtocol, settings: ConnectionSettings, files: TlsFiles | None) -> None:
        self._protocol = protocol
        self._files = files
        self._channels = open_channels(grpc.aio, protocol, settings, files)
        self._calls = Calls(self._channels)
        self._is_closed = False

    async def send(self, request: Request) -> bytes:
        """Send a serialized request, with its headers as metadata, and return the serialized answer.

        Raises:
            ServingError: the call failed, see `GrpcProtocol.error`.
        """
        if self._is_closed:
            raise closed(str(self._protocol.target))
        call = self._calls.next(request.path)(request.body, timeout=request.timeout, metadata=request.headers)
        try:
            # Awaiting the call itself raises CancelledError also when the channel was closed, and not only for a cancelled task.
            status = await call.code()
        except asyncio.CancelledError:
            call.cancel()
            raise
        if status is not grpc.StatusCode.OK:
            raise await self._error(call, status, request)
        data: bytes = await call
        return data

    async def _error(self, call: Any, status: grpc.StatusCode, request: Request) -> ServingError:
        details, metadata = await call.details() or "", await call.trailing_metadata()
        error = self._protocol.error(request, status.name, details, metadata, is_closed=self._is_closed)
        if self._files is not None and isinstance(error, ConnectionFailedError) and error.is_unexecuted:
            return await asyncio.to_thread(diagnose, self._protocol.target, self._files, request.timeout) or error
        return error

    async def close(self) -> None:
        """Close the channels, which cancels their calls."""
        self._is_closed = True
        for channel in self._channels:
            await channel.close(None)
