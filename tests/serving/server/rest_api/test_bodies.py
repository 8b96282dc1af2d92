"""Bodies within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from serving.server.config.options import ServerOptions
from serving.server.rest_api.bodies import Bodies, Held
from serving.server.rest_api.errors import TooLargeError
from serving.server.rest_api.exchange import SMALL_BODY

MIB = 2**20


class Content:
    """The content of a request; it notes how much was read."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks
        self.taken = 0

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.iter_any()])

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.taken += len(chunk)
            yield chunk
            await asyncio.sleep(0)


def request(*chunks: bytes, length: int | None = None) -> Any:
    return SimpleNamespace(content=Content(list(chunks)), content_length=length)


def bodies(limit: int = 10 * MIB, at_once: int = 1) -> Bodies:
    return Bodies(ServerOptions(max_request_bytes=limit, max_large_bodies=at_once))


def test_small_and_large_bodies_are_read() -> None:
    async def main() -> None:
        reader = bodies()
        for body in (b"", b"x", b"x" * SMALL_BODY, b"x" * 5 * MIB):
            for length in (len(body), None):
                held = Held()
                assert await reader.read(request(body, length=length), held) == body
                reader.release(held)

    asyncio.run(main())


def test_length_over_the_limit_is_refused_before_it_is_read() -> None:
    async def main() -> None:
        incoming = request(b"x" * 11 * MIB, length=11 * MIB)
        with pytest.raises(TooLargeError, match=f"{11 * MIB} bytes; --max_request_bytes allows {10 * MIB}"):
            await bodies().read(incoming, Held())
        assert incoming.content.taken == 0

    asyncio.run(main())


def test_chunked_body_over_the_limit_is_refused_where_it_exceeds_it() -> None:
    async def main() -> None:
        incoming = request(*[b"x" * MIB] * 100)
        with pytest.raises(TooLargeError, match="--max_request_bytes"):
            await bodies().read(incoming, Held())
        assert incoming.content.taken == 11 * MIB

    asyncio.run(main())


@pytest.mark.parametrize("length", [6 * MIB, None], ids=["length", "chunked"])
def test_large_bodies_wait_for_room(length: int | None) -> None:
    async def main() -> None:
        reader, first, second = bodies(), Held(), Held()
        body = b"x" * 6 * MIB
        await reader.read(request(body, length=length), first)
        waiting = asyncio.create_task(reader.read(request(body, length=length), second))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert await reader.read(request(b"small", length=5), Held()) == b"small"
        reader.release(first)
        assert await waiting == body
        reader.release(second)
        await asyncio.wait_for(reader.read(request(body, length=10 * MIB), Held()), 1)

    asyncio.run(main())


def test_body_that_no_longer_waits_leaves_the_others_their_room() -> None:
    async def main() -> None:
        reader, first = bodies(), Held()
        body = b"x" * 10 * MIB
        await reader.read(request(body, length=len(body)), first)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(request(body, length=len(body)), Held()), 0.05)
        reader.release(first)
        await asyncio.wait_for(reader.read(request(body, length=len(body)), Held()), 1)

    asyncio.run(main())


def test_chunked_body_holds_its_own_bytes_once_it_is_read() -> None:
    async def main() -> None:
        reader = bodies(at_once=2)
        for _ in range(3):
            await asyncio.wait_for(reader.read(request(b"x" * (SMALL_BODY + 1)), Held()), 1)

    asyncio.run(main())
