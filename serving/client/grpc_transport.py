"""Blocking gRPC channels to one server."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import grpc

from serving.client.connection import ConnectionSettings
from serving.client.grpc_protocol import GrpcProtocol
from serving.client.steps import Request
from serving.client.tls_errors import diagnose
from serving.client.tls_files import TlsFiles
from serving.client.transport import closed
from serving.errors import ConnectionFailedError, ServingError

COMPRESSIONS = {None: None, "gzip": grpc.Compression.Gzip}


def open_channels(api: Any, protocol: GrpcProtocol, settings: ConnectionSettings, files: TlsFiles | None) -> list[Any]:
    """Return channels of `grpc` or of `grpc.aio`, each with a connection of its own; arguments as in `GrpcTransport`."""
    name, options = protocol.target.grpc_name, protocol.options
    more = {"options": options, "compression": COMPRESSIONS[settings.channels.compression]}
    number = settings.channels.connections or 1
    if files is None:
        return [api.insecure_channel(name, **more) for _ in range(number)]
    credentials = grpc.ssl_channel_credentials(files.ca, files.key, files.certificate)
    return [api.secure_channel(name, credentials, **more) for _ in range(number)]


class Calls:
    """The methods of several channels; calls take turns over the channels.

    Args:
        channels: the channels.
    """

    def __init__(self, channels: list[Any]) -> None:
        unused: list[tuple[Any, dict[str, Callable[..., Any]]]] = [(channel, {}) for channel in channels]
        self._turns = cycle(unused)

    def next(self, path: str) -> Callable[..., Any]:
        """Return a method of the next channel, which takes and returns serialized messages."""
        channel, calls = next(self._turns)
        call = calls.get(path)
        if call is None:
            call = calls[path] = channel.unary_unary(path, None, None)
        return call


class GrpcTransport:
    """Channels to one server; safe to use from several threads.

    Args:
        protocol: the server's address, the options of the channels, and the errors of their calls.
        settings: how to connect.
        files: what the settings of TLS name; None without encryption.
    """

    def __init__(self, protocol: GrpcProtocol, settings: ConnectionSettings, files: TlsFiles | None) -> None:
        self._protocol = protocol
        self._files = files
        self._channels = open_channels(grpc, protocol, settings, files)
        self._calls = Calls(self._channels)
        self._is_closed = False

    def send(self, request: Request) -> bytes:
        """Send a serialized request, with its headers as metadata, and return the serialized answer.

        Raises:
            ServingError: the call failed, see `GrpcProtocol.error`.
        """
        if self._is_closed:
            raise closed(str(self._protocol.target))
        try:
            call = self._calls.next(request.path)
            data: bytes = call(request.body, timeout=request.timeout, metadata=request.headers)
        except grpc.RpcError as exc:
            raise self._error(exc, request) from exc
        except ValueError as exc:
            if self._is_closed:  # by another thread, since the check above
                raise closed(str(self._protocol.target)) from exc
            raise
        return data

    def _error(self, exc: Any, request: Request) -> ServingError:
        metadata = exc.trailing_metadata()
        error = self._protocol.error(request, exc.code().name, exc.details() or "", metadata, is_closed=self._is_closed)
        if self._files is not None and isinstance(error, ConnectionFailedError) and error.is_unexecuted:
            return diagnose(self._protocol.target, self._files, request.timeout) or error
        return error

    def close(self) -> None:
        """Close the channels."""
        self._is_closed = True
        for channel in self._channels:
            channel.close()
