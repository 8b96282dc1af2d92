"""Blocking connections to one server's REST port, see `serving.client.http_exchange`."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from serving.client.connection import ConnectionSettings
from serving.client.http_exchange import Connection, TooLongError
from serving.client.rest_protocol import RestProtocol
from serving.client.steps import Request
from serving.client.tls_errors import tls_error
from serving.client.tls_files import TlsFiles
from serving.client.transport import closed
from serving.errors import ServingError


class RestTransport:
    """Kept-alive connections to one server's REST port; a request takes one that no other thread uses.

    Args:
        protocol: the server's address, the limit on answers, and the errors of exchanges.
        settings: how to connect.
        files: what the settings of TLS name; None without encryption.
    """

    def __init__(self, protocol: RestProtocol, settings: ConnectionSettings, files: TlsFiles | None) -> None:
        self._protocol = protocol
        self._settings = settings
        self._files = files
        self._context = files.context() if files else None
        self._is_closed = False
        limit = settings.channels.connections
        self._slots = threading.BoundedSemaphore(limit) if limit else None
        self._idle: deque[Connection] = deque()
        self._connections: list[Connection] = []

    def send(self, request: Request) -> bytes:
        """Send a request, with its headers, and return the content of the answer.

        Raises:
            ServingError: the server refused it, or there is no answer in time, or it is too long or not HTTP.
        """
        if self._is_closed:
            raise self._closed()
        deadline = time.monotonic() + request.timeout
        with self._borrowed(request) as connection:
            is_open = False
            try:
                connection.open(max(deadline - time.monotonic(), 0.001))
                is_open = True
                answer = connection.exchange(request, self._protocol.max_bytes)
            except TooLongError as exc:
                connection.close()
                raise self._protocol.too_long(request) from exc
            except (OSError, http.client.HTTPException, AttributeError, ValueError) as exc:
                connection.close()
                if self._is_closed:  # by another thread, while the connection was in use
                    raise self._closed() from exc
                if isinstance(exc, AttributeError | ValueError) and not isinstance(exc, ssl.CertificateError):
                    raise
                raise self._error(exc, request, is_open=is_open) from exc
        return self._protocol.content(request, answer)

    @contextmanager
    def _borrowed(self, request: Request) -> Iterator[Connection]:
        if self._slots and not self._slots.acquire(timeout=request.timeout):
            raise self._protocol.late(request)
        try:
            connection = self._idle.pop() if self._idle else self._new()
        except IndexError:  # another thread was faster
            connection = self._new()
        try:
            yield connection
        finally:
            self._idle.append(connection)
            if self._slots:
                self._slots.release()

    def _new(self) -> Connection:
        address, name = self._protocol.target.address, self._settings.tls.server_name
        connection = Connection(address, self._context, name, self._settings.channels.keepalive)
        self._connections.append(connection)
        return connection

    def _error(self, exc: OSError | http.client.HTTPException, request: Request, *, is_open: bool) -> ServingError:
        if self._files and (error := tls_error(exc, self._protocol.target, self._files)):
            return error
        if isinstance(exc, TimeoutError):
            return self._protocol.late(request)
        if isinstance(exc, OSError):
            why = exc.strerror or str(exc)
            return self._protocol.lost(why) if is_open else self._protocol.no_connection(why)
        return self._protocol.not_http(exc)

    def _closed(self) -> ServingError:
        return closed(str(self._protocol.target))

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        for connection in self._connections:
            connection.close()
