"""Connections to one server's REST port for asyncio, with aiohttp.

Times, sizes, redirects, compression and lost connections are treated as in `serving.client.http_exchange`.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from serving.client.connection import ConnectionSettings
from serving.client.http_exchange import PIECE, Answer, TooLongError, content_headers, keep_alive
from serving.client.rest_protocol import RestProtocol
from serving.client.steps import Request
from serving.client.tls_errors import tls_error
from serving.client.tls_files import TlsFiles
from serving.client.transport import closed
from serving.errors import ServingError

_HEADERS = {"Accept-Encoding": "identity"}
"""Headers of every request: no compression of the answer is offered."""

_AT_MOST = 100
"""Connections of a client, unless its settings say otherwise."""

_AT_ONCE = 1 << 20
"""Longest body that is handed over as bytes; aiohttp writes a file of a longer one in pieces and runs other tasks between."""

_NO_CEILING = float("inf")
"""Timeouts are kept exactly; aiohttp would round those of more than five seconds to whole seconds."""


class AsyncRestTransport:
    """Kept-alive connections to one server's REST port, for the tasks of an event loop; arguments as in `RestTransport`."""

    def __init__(self, protocol: RestProtocol, settings: ConnectionSettings, files: TlsFiles | None) -> None:
        self._protocol = protocol
        self._files = files
        self._server_name = settings.tls.server_name
        self._origin = URL(f"{'https' if files else 'http'}://{protocol.target.address}")
        self._is_closed = False
        more: dict[str, Any] = {}
        if settings.channels.keepalive is not None:
            more["socket_factory"] = _socket_factory(settings.channels.keepalive)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=files.context() if files else True, limit=settings.channels.connections or _AT_MOST, **more
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def send(self, request: Request) -> bytes:
        """Send a request, with its headers, and return the content of the answer.

        Raises:
            ServingError: the server refused it, or there is no answer in time, or it is too long or not HTTP.
        """
        if self._is_closed:
            raise closed(str(self._protocol.target))
        try:
            answer = await self._exchange(request)
        except TooLongError as exc:
            raise self._protocol.too_long(request) from exc
        except (TimeoutError, asyncio.TimeoutError, aiohttp.ClientError, OSError, RuntimeError) as exc:
            if self._is_closed:
                raise closed(str(self._protocol.target)) from exc
            if isinstance(exc, RuntimeError):
                raise
            raise self._error(exc, request) from exc
        return self._protocol.content(request, answer)

    async def _exchange(self, request: Request) -> Answer:
        body = request.body
        async with self._session.request(
            request.method,
            self._origin.with_path(request.path, encoded=True),
            data=io.BytesIO(body) if body and len(body) > _AT_ONCE else body,
            headers={**_HEADERS, **dict(content_headers(request)), **dict(request.headers)},
            timeout=aiohttp.ClientTimeout(total=request.timeout, ceil_threshold=_NO_CEILING),
            allow_redirects=False,
            server_hostname=self._server_name,
        ) as response:
            data = await _read(response, self._protocol.max_bytes)
            found = response.headers
            return Answer(response.status, data, found.get("Location", ""), found.get("Retry-After", ""))

    def _error(self, exc: Exception, request: Request) -> ServingError:
        if isinstance(exc, TimeoutError | asyncio.TimeoutError):
            return self._protocol.late(request)
        cause = getattr(exc, "certificate_error", None) or getattr(exc, "os_error", None) or exc.__cause__ or exc
        if self._files and (error := tls_error(cause, self._protocol.target, self._files)):
            return error
        if isinstance(exc, aiohttp.ClientConnectorError):
            return self._protocol.no_connection(exc.os_error.strerror or str(exc.os_error))
        if isinstance(exc, aiohttp.ClientConnectorCertificateError):
            return self._protocol.no_connection(str(exc.certificate_error))
        if isinstance(exc, OSError | aiohttp.ClientConnectionError):
            return self._protocol.lost(str(exc))
        return self._protocol.not_http(exc)

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        await self._session.close()


def _socket_factory(keepalive: float) -> Callable[[Any], socket.socket]:
    """Return a function that makes the sockets of aiohttp's connections, which the system tests when they are silent."""

    def make(address: Any) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        keep_alive(made, keepalive)
        return made

    return make


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if (response.content_length or 0) > max_bytes:
        raise TooLongError
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise TooLongError
    return b"".join(pieces)
