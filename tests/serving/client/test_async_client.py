"""The asynchronous client: what it has besides the behaviour of the blocking one (`tests.serving.clients`)."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from serving import AsyncClient, Client, ConnectionFailedError, TargetError
from serving.errors import MissingExtraError
from serving.launch.server_process import ServerEndpoints
from tests.serving.servers import small_server

X = np.array([[1, 2, 3]], np.float32)
KINDS = ["grpc", "rest"]


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


@pytest.fixture(params=KINDS)
def target(endpoints: ServerEndpoints, request: pytest.FixtureRequest) -> str:
    return endpoints.grpc_target if request.param == "grpc" else endpoints.rest_target


def public_methods(kind: type) -> dict[str, inspect.Signature]:
    """Return the signatures of a class's public methods; `__init__` counts as one of them."""
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(member) for name, member in members if name == "__init__" or not name.startswith("_")}


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    blocking, asynchronous = public_methods(Client), public_methods(AsyncClient)
    assert {"predict", "classify", "regress", "prepare", "metadata", "status", "wait_until_ready", "close"} <= set(blocking)
    assert set(asynchronous) == set(blocking)
    for name, signature in blocking.items():
        assert asynchronous[name].parameters == signature.parameters, name
        if name != "prepare":  # its result is awaited by the caller
            assert asynchronous[name].return_annotation == signature.return_annotation, name
        assert name == "__init__" or inspect.iscoroutinefunction(getattr(AsyncClient, name)), name
        assert name == "__init__" or inspect.getdoc(getattr(AsyncClient, name)), name


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_client_shows_its_address_and_timeout(kind: type[Client] | type[AsyncClient]) -> None:
    assert repr(kind("localhost:1")) == f"{kind.__name__}('grpc://localhost:1', timeout=30)"
    assert repr(kind("http://localhost:1", timeout=0.5)) == f"{kind.__name__}('http://localhost:1', timeout=0.5)"


def test_many_tasks_share_a_client(target: str) -> None:
    async def one(client: AsyncClient, number: int) -> bool:
        x = np.full((2, 3), number, np.float32)
        answer = await client.predict("affine", x=x, version=1)
        return np.array_equal(answer["y"], x * 2 + 1)

    async def main() -> list[bool]:
        async with AsyncClient(target) as client:
            return await asyncio.gather(*(one(client, number) for number in range(150)))

    assert asyncio.run(main()) == [True] * 150


def test_calls_wait_at_the_same_time(target: str) -> None:
    async def main() -> float:
        async with AsyncClient(target, timeout=0.5) as client:
            start = time.monotonic()
            slow = [client.predict("slow", x=X) for _ in range(4)]
            await asyncio.gather(*slow, return_exceptions=True)
            return time.monotonic() - start

    assert asyncio.run(main()) < 1.5


def test_a_cancelled_task_ends_at_once_and_leaves_the_client_usable(target: str) -> None:
    async def main() -> None:
        async with AsyncClient(target) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.predict("slow", x=X), 0.2)
            task = asyncio.create_task(client.wait_until_ready("affine", 9))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.predict("affine", x=X, version=1))["y"].tolist() == [[3, 5, 7]]

    start = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - start < 3


def test_closing_ends_the_requests_in_flight(target: str) -> None:
    async def main() -> None:
        client = AsyncClient(target)
        task = asyncio.create_task(client.predict("slow", x=X))
        await asyncio.sleep(0.3)
        await client.close()
        with pytest.raises(ConnectionFailedError, match="The client is closed"):
            await task
        with pytest.raises(ConnectionFailedError, match="The client is closed"):
            await client.predict("affine", x=X)
        await client.close()

    asyncio.run(main())


def test_a_client_made_outside_of_a_loop_belongs_to_the_loop_of_its_first_call(target: str) -> None:
    client = AsyncClient(target)

    async def call() -> None:
        await client.predict("affine", x=X)

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(call())
    for use in (call, client.close):
        with pytest.raises(TargetError, match="used in another event loop"):
            second.run_until_complete(use())
    first.run_until_complete(call())
    first.run_until_complete(client.close())
    first.close(), second.close()


def test_a_client_that_was_never_used_can_be_closed() -> None:
    for target in ("localhost:1", "http://localhost:1"):
        asyncio.run(AsyncClient(target).close())


def test_rest_without_aiohttp_is_an_error_that_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.client.async_rest", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match="AsyncClient over REST needs the package") as caught:
        AsyncClient("http://localhost:8501")
    assert "pip install 'tfbundle[async]'" in str(caught.value)


def test_the_client_imports_neither_tensorflow_nor_torch_and_aiohttp_only_for_rest() -> None:
    code = (
        "import sys; from serving import AsyncClient; AsyncClient('h:1'); assert 'aiohttp' not in sys.modules;"
        "AsyncClient('http://h:1'); assert 'aiohttp' in sys.modules;"
        "assert not {'tensorflow', 'torch', 'bundler', 'ml_dtypes'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
