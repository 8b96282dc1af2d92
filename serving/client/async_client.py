"""Client of a TensorFlow Serving server for asyncio, over gRPC or REST.

    async with AsyncClient("localhost:8500") as client:
        await client.wait_until_ready("digits", timeout=60)
        answers = await asyncio.gather(*(client.predict("digits", image=image) for image in images))

Over gRPC it needs grpcio, protobuf and NumPy alone; over REST also aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from serving.client.base import POLLING, BaseClient, not_ended
from serving.client.connection import RetryPolicy
from serving.client.examples import Classes, Example
from serving.client.model_info import ModelInfo, VersionStatus
from serving.client.steps import Request, Steps, T, run_async
from serving.client.tracing import traced
from serving.client.transport import ModelRef, Verb, closed
from serving.client.wires import AsyncTransport, import_async
from serving.errors import ServingError, TargetError
from serving.protocol.tensors import Array


class AsyncClient(BaseClient):
    """A client of one server for the tasks of one event loop; its arguments, methods and errors are those of `Client`.

    The client may be made anywhere. Its connections are made in the event loop of its first call, and all calls and `close`
    belong to that loop. Cancelling a task that waits for an answer also cancels the request. Requests are encoded and answers
    decoded in the event loop itself, which costs little over gRPC; JSON of large tensors holds up other tasks.

    Over REST at most 100 requests are in flight (see `Channels.connections`); others wait for a connection, within their timeout.

    Raises:
        TargetError: an argument is wrong, or a call comes from another event loop than the first one.
        MissingExtraError: aiohttp is not installed, and the target is a REST port.
    """

    def _connect(self) -> None:
        import_async(self.target)
        self._transport: AsyncTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def _run(self, steps: Steps[T], policy: RetryPolicy | None = None) -> Coroutine[Any, Any, T]:
        return run_async(traced(self._dispatch.steps(steps, policy), self.target), self._send)

    async def _send(self, request: Request) -> Any:
        if self._is_closed:
            raise closed(str(self.target))
        self._check_loop()
        if self._transport is None:
            self._transport = self._wire.connect_async()
        return await self._transport.send(request)

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            fix = "make one AsyncClient per event loop, inside of the function that asyncio.run is given"
            what = "The client was used in another event loop before."
            raise TargetError(what, where=str(self.target), fix=fix, code="TFB7009")

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; requests in flight end with a ConnectionFailedError."""
        if self._transport is not None:
            self._check_loop()
            self._is_closed = True
            await self._transport.close()
        self._is_closed = True

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike] | None = None,
        /,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = None,
        **named: npt.ArrayLike,
    ) -> dict[str, Array]:
        """Run a signature; see `Client.predict`."""
        return await self._run(self._predict(ModelRef(model, version, label), inputs, named, signature, timeout))

    async def classify(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "classify",
        timeout: float | None = None,
    ) -> Classes:
        """Return the classes of each example: a list of (label, score) pairs per example.

        See `Client.classify`.
        """
        ref = ModelRef(model, version, label)
        return await self._run(self._classify(ref, examples, signature, timeout))

    async def regress(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "regress",
        timeout: float | None = None,
    ) -> list[float]:
        """Return one number per example; see `Client.regress`."""
        return await self._run(self._regress(ModelRef(model, version, label), examples, signature, timeout))

    async def prepare(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        verb: Verb = "Predict",
    ) -> Callable[[], Awaitable[object]]:
        """Encode a request once; return a function whose result is awaited, see `Client.prepare`."""
        call = await self._run(self._prepare(ModelRef(model, version, label), inputs, signature, verb))
        return lambda: self._run(call())

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Return the signatures of a served version; see `Client.metadata`."""
        return await self._run(self._metadata(ModelRef(model, version, label), timeout))

    async def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """Return the states of the versions that the server knows; see `Client.status`."""
        return await self._run(self._status(ModelRef(model, version), timeout))

    async def wait_until_ready(
        self,
        model: str,
        version: int | None = None,
        timeout: float = 60.0,
        *,
        ended: Callable[[], ServingError | None] = not_ended,
    ) -> VersionStatus:
        """Wait until a version is AVAILABLE, and return its state; see `Client.wait_until_ready`."""
        return await self._run(self._wait_until_ready(model, version, timeout, ended), POLLING)
