"""A blocking gRPC channel to one server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from serving.client.grpc_protocol import GrpcProtocol
from serving.client.steps import Request
from serving.client.transport import Target, closed


def open_channel(api: Any, target: Target, protocol: GrpcProtocol, root_certificates: bytes | None) -> Any:
    """Return a channel of `grpc` or of `grpc.aio`; arguments as in `GrpcTransport`."""
    if not target.tls:
        return api.insecure_channel(target.address, options=protocol.options)
    return api.secure_channel(target.address, grpc.ssl_channel_credentials(root_certificates), options=protocol.options)


class GrpcTransport:
    """A channel to one server; safe to use from several threads.

    Args:
        target: the server's address.
        protocol: the options of the channel, and the errors of its calls.
        root_certificates: PEM of the certificate authority to trust, for a `grpcs://` target; None trusts the system's.
    """

    def __init__(self, target: Target, protocol: GrpcProtocol, root_certificates: bytes | None = None) -> None:
        self._target = target
        self._protocol = protocol
        self._channel: grpc.Channel = open_channel(grpc, target, protocol, root_certificates)
        self._calls: dict[str, Callable[..., Any]] = {}
        self._is_closed = False

    def send(self, request: Request) -> bytes:
        """Send a serialized request, with the headers of the model version, and return the serialized answer.

        Raises:
            ServingError: the call failed, see `GrpcProtocol.error`.
        """
        path = request.path
        if self._is_closed:
            raise closed(str(self._target))
        try:
            if path not in self._calls:
                # Without serializers, bytes are sent and returned unchanged.
                self._calls[path] = self._channel.unary_unary(path, None, None)
            data: bytes = self._calls[path](request.body, timeout=request.timeout, metadata=request.headers)
        except grpc.RpcError as exc:
            raise self._error(exc, request) from exc
        except ValueError as exc:
            if self._is_closed:  # by another thread, since the check above
                raise closed(str(self._target)) from exc
            raise
        return data

    def _error(self, exc: Any, request: Request) -> Exception:
        return self._protocol.error(request, exc.code().name, exc.details() or "", is_closed=self._is_closed)

    def close(self) -> None:
        """Close the channel."""
        self._is_closed = True
        self._channel.close()
