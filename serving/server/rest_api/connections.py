"""HTTP connections with a time limit for the head of a request and for the reading of an answer.

Clients that send their requests byte by byte (slowloris) could otherwise occupy all file descriptors of the process, and
those that never read their answers all its memory. Connections that are idle between two requests stay open, as clients keep
them in pools.
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
    """A connection that is closed if the head of a request does not arrive within `seconds`.

    Args:
        manager: the server of the connection.
        refusal: returns the response to a request that is not valid HTTP, given its status.
        seconds: the time limit.
        write_seconds: how long the client may take to read what the connection holds for it, about 64 KiB.
        options: passed to aiohttp.
    """

    def __init__(
        self, manager: Any, *, refusal: Refusal, seconds: float, write_seconds: float, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._refusal = refusal
        self._seconds = seconds
        self._write_seconds = write_seconds
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_request = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit of the first request, and watch what the client does not read."""
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.set_write_buffer_limits(0)  # `pause_writing` is called for all that the system does not take at once
        self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the time limits."""
        self._stop_timer()
        super().connection_lost(exc)
        self._stop_write_timer()

    def pause_writing(self) -> None:
        """Start the time limit of the client, which does not read as fast as the answer is written."""
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        """Stop the time limit: the client has read enough."""
        super().resume_writing()
        self._stop_write_timer()

    def force_close(self) -> None:
        """Close the connection once the client has read what is left, for which it has the time limit."""
        self._start_write_timer()
        super().force_close()

    def data_received(self, data: bytes) -> None:
        """Start the time limit if these are the first bytes of a request."""
        if not self._in_request and self._timer is None:
            self._start_timer()
        super().data_received(data)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the response to a request that is not valid HTTP."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        is_unknown_method = isinstance(exc, BadHttpMethod)
        return self._refusal(HTTPStatus.NOT_IMPLEMENTED if is_unknown_method else HTTPStatus.BAD_REQUEST)

    def request_begins(self) -> None:
        """Stop the time limit when the head is complete. The body that follows has its own limit."""
        self._stop_timer()
        self._in_request = True

    def request_ends(self) -> None:
        """Note that the next bytes begin a new request."""
        self._in_request = False

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.force_close)

    def _start_write_timer(self) -> None:
        if self._write_timer is None and self.transport is not None:
            self._write_timer = asyncio.get_running_loop().call_later(self._write_seconds, self.transport.abort)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ConnectionServer(web.Server):
    """An aiohttp server whose connections are `Connection` objects, with their arguments."""

    def __init__(
        self, handler: Any, *, refusal: Refusal, seconds: float, write_seconds: float, **options: Any
    ) -> None:
        super().__init__(handler, **options)
        self._refusal = refusal
        self._seconds = seconds
        self._write_seconds = write_seconds

    def __call__(self) -> web.RequestHandler:
        """Return a new connection."""
        return Connection(
            self, refusal=self._refusal, loop=self._loop, seconds=self._seconds, write_seconds=self._write_seconds,
            **self._kwargs,
        )  # fmt: skip
