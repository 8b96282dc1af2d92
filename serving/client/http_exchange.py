"""One HTTP request and its answer, within a time and a size.

The standard library's client applies its time-out to each read, so a server that sends a byte now and then keeps it waiting
forever, and it reads whatever a server sends. Here the time is that of the whole exchange, and a longer answer is refused.
Redirects are not followed, and no compression is offered.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

Headers: TypeAlias = Iterable[tuple[str, str]]

PIECE = 1 << 20
"""Most bytes that are read at a time: memory grows with what has arrived, not with what a server announces."""


class TooLongError(Exception):
    """The answer has more bytes than allowed."""


class Answer(NamedTuple):
    """The answer to one request.

    Attributes:
        status: the HTTP status.
        body: the content.
        location: the target of a redirect, else an empty string.
    """

    status: int
    body: bytes
    location: str


class Connection:
    """A kept-alive connection of one thread.

    Args:
        address: `host:port`.
        context: settings of TLS; None for a connection without encryption.
    """

    def __init__(self, address: str, context: ssl.SSLContext | None) -> None:
        self._http = (
            http.client.HTTPConnection(address)
            if context is None
            else http.client.HTTPSConnection(address, context=context)
        )
        self._deadline = 0.0
        self._http.response_class = self._response  # type: ignore[assignment]

    @property
    def sock(self) -> socket.socket | None:
        """The open socket, or None."""
        return self._http.sock

    def close(self) -> None:
        """Close the connection; the next exchange opens it again."""
        self._http.close()

    def exchange(
        self, method: str, path: str, body: bytes | None, seconds: float, max_bytes: int, headers: Headers = ()
    ) -> Answer:
        """Send a request and read the whole answer.

        Args:
            method: the HTTP method.
            path: the request's target.
            body: JSON, or None.
            seconds: longest time from now to the end of the answer.
            max_bytes: most bytes of the answer's content.
            headers: names and values of further headers.

        Raises:
            TooLongError: the answer has more bytes.
            TimeoutError: the time is over.
            OSError, http.client.HTTPException: the connection failed, or the answer is not HTTP.
        """
        self._deadline = time.monotonic() + seconds
        self._http.timeout = seconds
        if self._http.sock is not None:
            self._http.sock.settimeout(seconds)
        content_type = () if body is None else (("Content-Type", "application/json"),)
        self._http.request(method, path, body, dict((*content_type, *headers)))
        with self._http.getresponse() as response:
            return Answer(response.status, _read(response, max_bytes), response.headers.get("Location", ""))

    def remaining(self) -> float:
        """Return the seconds that are left for the present exchange.

        Raises:
            TimeoutError: none are left.
        """
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def _response(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_Files(sock, self), *args, **options)  # type: ignore[arg-type]


class _Files:
    """A socket as HTTPResponse sees it: something that makes a file to read from."""

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        self._sock = sock
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedFile(self._sock, self._connection))


class _TimedFile(io.RawIOBase):
    """Reads from a socket, each time no longer than the exchange may still take."""

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        self._sock = sock
        self._connection = connection
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._connection.remaining())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    announced = response.length
    if announced is not None and announced > max_bytes:
        raise TooLongError
    pieces, size = [], 0
    while piece := response.read(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise TooLongError
    if announced is not None and size < announced:
        raise http.client.IncompleteRead(b"", announced - size)
    return b"".join(pieces)
