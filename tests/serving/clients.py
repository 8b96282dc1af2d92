"""Both clients of `serving` for the same tests: the asynchronous one behind an interface that blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from serving import AsyncClient, Client

T = TypeVar("T")


class BlockingAsyncClient:
    """An AsyncClient whose event loop runs in a thread: each method blocks until its coroutine has ended."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = AsyncClient(*args, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def __enter__(self) -> BlockingAsyncClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        return self._blocking(member) if callable(member) else member

    def _blocking(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = self._wait_for(function(*args, **options))
            return self._blocking(result) if callable(result) else result

        return call

    def _wait_for(self, awaitable: Awaitable[T]) -> T:
        async def result() -> T:
            return await awaitable

        if not self._thread.is_alive():
            return asyncio.run(result())
        return asyncio.run_coroutine_threadsafe(result(), self._loop).result()

    def close(self) -> None:
        if self._thread.is_alive():
            self._wait_for(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def each_client(module: str) -> Any:
    """Return an autouse fixture that runs every test of a module twice: the module's name `Client` is either client."""

    @pytest.fixture(autouse=True, params=[Client, BlockingAsyncClient], ids=["blocking", "async"])
    def client_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(f"{module}.Client", request.param)
        yield

    return client_class
