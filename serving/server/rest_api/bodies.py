"""Limits for what is held in memory: the body of one request, all large bodies, and all large answers."""

from __future__ import annotations

import asyncio

from aiohttp import web

from serving.protocol.status import Code, StatusError
from serving.server.config.options import ServerOptions
from serving.server.rest_api.api import SMALL_BODY
from serving.server.rest_api.errors import TooLargeError


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
        self._free += held.size
        held.size = 0
        self._freed.set()


class Held:
    """Bytes that a body takes of those that all bodies share."""

    def __init__(self) -> None:
        self.size = 0


class Answers:
    """Counts the bytes of the large answers that are held until they are written or sent; for use in one event loop.

    They share `max_large_bodies` times `max_decoded_bytes`. An answer that would exceed this is dropped, since its model has
    run and it cannot wait elsewhere.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.limit = options.max_decoded_bytes * max(options.max_large_bodies, 1)
        self._size = 0

    def hold(self, size: int) -> None:
        """Count an answer's bytes.

        Raises:
            StatusError: RESOURCE_EXHAUSTED: there is no room for it.
        """
        if self._size + size > self.limit:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"The answer has {size} bytes and other answers that are not sent yet have {self._size}; --max_large_bodies and "
                f"--max_decoded_bytes allow {self.limit}.",
            )
        self._size += size

    def release(self, size: int) -> None:
        """Forget the bytes of an answer."""
        self._size -= size
