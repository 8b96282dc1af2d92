"""Connections to one server's REST port for asyncio, with aiohttp.

Times, sizes, redirects, compression and lost connections are treated as in `serving.client.http_exchange`.
"""

from __future__ import annotations

import asyncio
import errno
import io
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from serving.client.http_exchange import PIECE, Answer, TooLongError
from serving.client.rest_protocol import RestProtocol
from serving.client.steps import Request
from serving.client.transport import Target, closed, tls_context
from serving.errors import ServingError

_HEADERS = {"Accept-Encoding": "identity"}
"""Headers of every request: no compression is offered."""

_AT_ONCE = 1 << 20
"""Longest body that is handed over as bytes; aiohttp writes a file of a longer one in pieces and runs other tasks between."""

_NO_CEILING = float("inf")
"""Timeouts are kept exactly; aiohttp would round those of more than five seconds to whole seconds."""


class AsyncRestTransport:
    """Kept-alive connections to one server's REST port, for all tasks of the running event loop.

    Args:
        target: the server's address.
        protocol: the limit on answers, and the errors of exchanges.
        root_certificates: PEM of the certificate authority to trust, for an `https://` target; None trusts the system's.
    """

    def __init__(self, target: Target, protocol: RestProtocol, root_certificates: bytes | None = None) -> None:
        self._target = target
        self._protocol = protocol
        self._origin = URL(f"{'https' if target.tls else 'http'}://{target.address}")
        self._is_closed = False
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls_context(target, root_certificates) or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[tracing],
        )

    async def send(self, request: Request) -> Answer:
        """Send a request, with the headers of the model version, and return the answer.

        Raises:
            ServingError: there is no answer in time, or it is too long or not HTTP.
        """
        if self._is_closed:
            raise closed(str(self._target))
        connection = SimpleNamespace(reused=False)
        try:
            try:
                return await self._exchange(request, connection)
            except (aiohttp.ClientConnectionError, OSError) as exc:
                if not (connection.reused and _is_lost(exc)) or self._is_closed:
                    raise
                # The server closed an idle connection, which has nothing to do with this request: send it again.
                return await self._exchange(request, connection)
        except TooLongError as exc:
            raise self._protocol.too_long(request) from exc
        except (TimeoutError, asyncio.TimeoutError, aiohttp.ClientError, OSError, RuntimeError) as exc:
            if self._is_closed:
                raise closed(str(self._target)) from exc
            if isinstance(exc, RuntimeError):
                raise
            raise self._error(exc, request) from exc

    async def _exchange(self, request: Request, connection: SimpleNamespace) -> Answer:
        body = request.body
        async with self._session.request(
            request.method,
            self._origin.with_path(request.path, encoded=True),
            data=io.BytesIO(body) if body and len(body) > _AT_ONCE else body,
            headers={**_HEADERS, **({} if body is None else {"Content-Type": "application/json"}), **dict(request.headers)},
            timeout=aiohttp.ClientTimeout(total=request.timeout, ceil_threshold=_NO_CEILING),
            allow_redirects=False,
            trace_request_ctx=connection,
        ) as response:
            data = await _read(response, self._protocol.max_bytes)
            return Answer(response.status, data, response.headers.get("Location", ""))

    def _error(self, exc: Exception, request: Request) -> ServingError:
        if isinstance(exc, TimeoutError | asyncio.TimeoutError):
            return self._protocol.late(request)
        if isinstance(exc, aiohttp.ClientConnectorError):
            return self._protocol.no_connection(exc.os_error.strerror or str(exc.os_error))
        if isinstance(exc, aiohttp.ClientConnectorCertificateError):
            return self._protocol.no_connection(str(exc.certificate_error))
        if isinstance(exc, OSError | aiohttp.ClientConnectionError):
            return self._protocol.no_connection(str(exc))
        return self._protocol.not_http(exc)

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        await self._session.close()


def _is_lost(exc: Exception) -> bool:
    """Return whether the server has closed the connection; aiohttp makes a ClientOSError of a reset one and keeps its number."""
    if isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError):
        return True
    return isinstance(exc, OSError) and exc.errno in (errno.ECONNRESET, errno.EPIPE)


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.reused = True


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
