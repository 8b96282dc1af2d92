"""HTTP connections that do not wait for ever: a request that starts to arrive has to arrive.

A client that sends its request byte by byte (slow-loris) would hold a connection, and with enough of them the process' file
descriptors. Connections that rest between two requests are not touched: they are the clients' pools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError

Refusal = Callable[[HTTPStatus], web.StreamResponse]


class Connection(web.RequestHandler):
    """A connection that is closed when the head of a request has not come within `seconds`.

    Args:
        refusal: the reply to what is no HTTP, by its status.
    """

    def __init__(self, manager: Any, *, refusal: Refusal, seconds: float, **options: Any) -> None:
        super().__init__(manager, **options)
        self._refusal = refusal
        self._seconds = seconds
        self._serving = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._serving and self._deadline is None:
            self._expect_head()
        super().data_received(data)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        unknown = isinstance(exc, BadHttpMethod)
        return self._refusal(HTTPStatus.NOT_IMPLEMENTED if unknown else HTTPStatus.BAD_REQUEST)

    def request_begins(self) -> None:
        """The head is there: further bytes are the body's, which the server waits for with a limit of its own."""
        self._head_came()
        self._serving = True

    def request_ends(self) -> None:
        self._serving = False

    def _expect_head(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(self._seconds, self._give_up)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self.force_close()


class ConnectionServer(web.Server):
    """An aiohttp server of `Connection`s."""

    def __init__(self, handler: Any, *, refusal: Refusal, seconds: float, **options: Any) -> None:
        super().__init__(handler, **options)
        self._refusal = refusal
        self._seconds = seconds

    def __call__(self) -> web.RequestHandler:
        return Connection(self, refusal=self._refusal, loop=self._loop, seconds=self._seconds, **self._kwargs)
