"""Blocking connections to one server's REST port, see `serving.client.http_exchange`."""

from __future__ import annotations

import http.client
import ssl
import threading

from serving.client.http_exchange import Answer, Connection, TooLongError
from serving.client.rest_protocol import RestProtocol
from serving.client.steps import Request
from serving.client.transport import Target, closed, tls_context
from serving.errors import ServingError


class RestTransport:
    """Kept-alive connections to one server's REST port, one per thread.

    Args:
        target: the server's address.
        protocol: the limit on answers, and the errors of exchanges.
        root_certificates: PEM of the certificate authority to trust, for an `https://` target; None trusts the system's.
    """

    def __init__(self, target: Target, protocol: RestProtocol, root_certificates: bytes | None = None) -> None:
        self._target = target
        self._protocol = protocol
        self._context = tls_context(target, root_certificates)
        self._is_closed = False
        self._local = threading.local()
        self._connections: list[Connection] = []

    def send(self, request: Request) -> Answer:
        """Send a request, with the headers of the model version, and return the answer.

        Raises:
            ServingError: there is no answer in time, or it is too long or not HTTP.
        """
        if self._is_closed:
            raise closed(str(self._target))
        connection = self._connection()
        reused = connection.sock is not None
        try:
            try:
                return self._exchange(connection, request)
            except (ConnectionResetError, BrokenPipeError):
                if not reused:
                    raise
                # The server closed an idle connection, which has nothing to do with this request: send it again.
                connection.close()
                return self._exchange(connection, request)
        except TooLongError as exc:
            connection.close()
            raise self._protocol.too_long(request) from exc
        except (OSError, http.client.HTTPException, AttributeError, ValueError) as exc:
            connection.close()
            if self._is_closed:  # by another thread, while the connection was in use
                raise closed(str(self._target)) from exc
            if isinstance(exc, AttributeError | ValueError) and not isinstance(exc, ssl.CertificateError):
                raise
            raise self._error(exc, request) from exc

    def _exchange(self, connection: Connection, request: Request) -> Answer:
        method, path, body, seconds = request.method, request.path, request.body, request.timeout
        return connection.exchange(method, path, body, seconds, self._protocol.max_bytes, request.headers)

    def _error(self, exc: OSError | http.client.HTTPException, request: Request) -> ServingError:
        if isinstance(exc, TimeoutError):
            return self._protocol.late(request)
        if isinstance(exc, OSError):
            return self._protocol.no_connection(exc.strerror or str(exc))
        return self._protocol.not_http(exc)

    def _connection(self) -> Connection:
        """Return this thread's connection."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = Connection(self._target.address, self._context)
            self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close the connections of all threads."""
        self._is_closed = True
        for connection in self._connections:
            connection.close()
