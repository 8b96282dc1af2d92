"""One HTTP request and its answer, within a time and a size.

The standard library's client applies its time-out to each read, so a server that sends a byte now and then keeps it waiting
forever, and it reads whatever a server sends. Here the time is that of the whole exchange, and a longer answer is refused.
Redirects are not followed, and no compression of answers is offered.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from serving.client.steps import Headers, Request

PIECE = 1 << 20
"""Most bytes that are read at a time: memory grows with what has arrived, not with what a server announces."""


class TooLongError(Exception):
    """The answer has more bytes than allowed."""


_IDLE_SECONDS = 15.0
"""A connection that was unused for longer is not used again: the server may be closing it. Servers wait 30 to 75 s, as a rule."""

_KEEPALIVE_PROBES = 3


class Answer(NamedTuple):
    """The answer to one request.

    Attributes:
        status: the HTTP status.
        body: the content.
        location: the target of a redirect, else an empty string.
        retry_after: when the server asks for another try, as it says it; else an empty string.
    """

    status: int
    body: bytes
    location: str
    retry_after: str = ""


def content_headers(request: Request) -> Headers:
    """Return the headers that describe a request's body."""
    if request.body is None:
        return ()
    json = (("Content-Type", "application/json"),)
    return (*json, ("Content-Encoding", "gzip")) if request.is_gzipped else json


def retry_seconds(text: str) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3); None if it is missing or cannot be read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return max((at - datetime.now(timezone.utc)).total_seconds(), 0.0)


def keep_alive(sock: socket.socket, seconds: float) -> None:
    """Let the system test a connection that was silent for so many seconds, where it can."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    for option, value in (
        (idle, round(seconds)),
        (getattr(socket, "TCP_KEEPINTVL", None), max(round(seconds / _KEEPALIVE_PROBES), 1)),
        (getattr(socket, "TCP_KEEPCNT", None), _KEEPALIVE_PROBES),
    ):
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class _EncryptedConnection(http.client.HTTPSConnection):
    """A connection whose certificate is for another name than the address."""

    def __init__(self, address: str, context: ssl.SSLContext, name: str) -> None:
        super().__init__(address, context=context)
        self._name = name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)  # type: ignore[attr-defined]


class Connection:
    """A kept-alive connection, for one thread at a time.

    Args:
        address: `host:port`.
        context: settings of TLS; None for a connection without encryption.
        server_name: the name that the certificate must have; None for the address's host.
        keepalive: seconds of silence after which the connection is tested; None for no test.
    """

    def __init__(
        self,
        address: str,
        context: ssl.SSLContext | None,
        server_name: str | None = None,
        keepalive: float | None = None,
    ) -> None:
        self._http: http.client.HTTPConnection
        if context is None:
            self._http = http.client.HTTPConnection(address)
        elif server_name is None:
            self._http = http.client.HTTPSConnection(address, context=context)
        else:
            self._http = _EncryptedConnection(address, context, server_name)
        self._keepalive = keepalive
        self._deadline = 0.0
        self._used_at = 0.0
        self._http.response_class = self._response  # type: ignore[assignment]

    def open(self, seconds: float) -> None:
        """Connect, unless there is a connection that was used a moment ago and that the server has not closed.

        Args:
            seconds: longest time from now to the end of the next exchange.

        Raises:
            OSError: no connection could be made.
        """
        self._deadline = time.monotonic() + seconds
        self._http.timeout = seconds
        sock = self._http.sock
        if sock is not None:
            if time.monotonic() - self._used_at < _IDLE_SECONDS and not _is_readable(sock):
                sock.settimeout(seconds)
                return
            self._http.close()
        self._http.connect()
        if self._keepalive is not None:
            keep_alive(self._http.sock, self._keepalive)

    def close(self) -> None:
        """Close the connection; the next exchange opens it again."""
        self._http.close()

    def exchange(self, request: Request, max_bytes: int) -> Answer:
        """Send a request over the open connection and read the whole answer, within the time that `open` was given.

        Args:
            request: the request.
            max_bytes: most bytes of the answer's content.

        Raises:
            TooLongError: the answer has more bytes.
            TimeoutError: the time is over.
            OSError, http.client.HTTPException: the connection failed, or the answer is not HTTP.
        """
        headers = dict((*content_headers(request), *request.headers))
        self._http.request(request.method, request.path, request.body, headers)
        with self._http.getresponse() as response:
            found = response.headers
            content = _read(response, max_bytes)
            answer = Answer(response.status, content, found.get("Location", ""), found.get("Retry-After", ""))
        self._used_at = time.monotonic()
        return answer

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


def _is_readable(sock: socket.socket) -> bool:
    """Return whether an idle connection has something to read: its end, as a rule."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


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
