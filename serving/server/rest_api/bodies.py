"""Read the bodies of requests within limits: the bytes of one body, and of all large bodies that are held at once."""

from __future__ import annotations

import asyncio

from aiohttp import web

from serving.server.config.options import ServerOptions
from serving.server.rest_api.errors import TooLargeError
from serving.server.rest_api.exchange import SMALL_BODY


class Bodies:
    """Reads bodies; for use in one event loop.

    Large bodies share `max_large_bodies` times `max_request_bytes`. A request that would exceed this waits before it is read,
    so that its bytes stay with the client.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._limit = options.max_request_bytes
        self._free = self._limit * max(options.max_large_bodies, 1)
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def read(self, request: web.BaseRequest, held: Held) -> bytes | bytearray:
        """Read a request's body.

        Args:
            request: the request.
            held: counts the bytes until it is released.

        Raises:
            TooLargeError: the body exceeds the limit, by its Content-Length or, if that is missing, once it does.
        """
        length = request.content_length
        if length is not None and length > self._limit:
            raise TooLargeError(f"The body has {length} bytes; --max_request_bytes allows {self._limit}.")
        if length is not None and length <= SMALL_BODY:
            return await request.content.read()
        body = bytearray()
        if length is not None:
            await self._hold(held, length)
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self._limit:
                raise TooLargeError(f"The body has more than the {self._limit} bytes that --max_request_bytes allows.")
            if len(body) > SMALL_BODY and not held.size:
                await self._hold(held, self._limit)
        self._shrink(held, len(body))
        return body

    async def _hold(self, held: Held, size: int) -> None:
        async with self._turn:  # first come, first served
            while self._free < size:
                self._freed.clear()
                await self._freed.wait()
            self._free -= size
            held.size = size

    def release(self, held: Held) -> None:
        """Let other bodies use the bytes of one that is no longer needed."""
        self._shrink(held, 0)

    def _shrink(self, held: Held, size: int) -> None:
        if held.size > size:
            self._free += held.size - size
            held.size = size
            self._freed.set()


class Held:
    """Bytes that a body takes of those that all bodies share."""

    def __init__(self) -> None:
        self.size = 0
