"""Exchanges with a server as generators, which a blocking and an asynchronous client run alike.

A generator yields what has to be waited for, a `Request` or a `Pause`; `run` and `run_async` do it and send the answer back, or
throw the error in. Everything else (checks, encoding, decoding, retries) is in the generators, once for both clients.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from serving.client.transport import ModelRef
from serving.errors import ServingError

T = TypeVar("T")


class Request(NamedTuple):
    """An encoded request.

    Attributes:
        path: target of the request: `/package.Service/Method` for gRPC, the URL's path for REST.
        body: the encoded message; None if it has none.
        ref: the model version that it is for.
        timeout: seconds from sending to the end of the answer.
        method: the HTTP method; gRPC has only POST.
        trace: headers that carry the caller's trace.
    """

    path: str
    body: bytes | None
    ref: ModelRef
    timeout: float
    method: str = "POST"
    trace: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names, in lower case, and values of the headers (metadata over gRPC): those of the model version, and of the trace."""
        return (*self.ref.headers, *self.trace)


class Pause(NamedTuple):
    """A wait for a number of seconds."""

    seconds: float


Steps: TypeAlias = Generator[Request | Pause, Any, T]
"""Steps to a result. The answer to a Request is what the transport returns: bytes for gRPC, an `Answer` for REST."""


def run(steps: Steps[T], send: Callable[[Request], Any]) -> T:
    """Take the steps, blocking, and return their result.

    Args:
        steps: the steps.
        send: sends a request and returns its answer. A ServingError that it raises is raised in the steps.
    """

    async def send_now(request: Request) -> Any:
        return send(request)

    async def sleep_now(seconds: float) -> None:
        time.sleep(seconds)

    walk = run_async(steps, send_now, sleep_now)
    try:
        walk.send(None)  # runs to the end: what it awaits never waits for an event loop
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("A blocking step has waited for an event loop.")


async def run_async(
    steps: Steps[T],
    send: Callable[[Request], Awaitable[Any]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Take the steps without blocking the event loop, and return their result; arguments as in `run`."""
    answer: Any = None
    error: ServingError | None = None
    try:
        while True:
            step = steps.send(answer) if error is None else steps.throw(error)
            answer = error = None
            if isinstance(step, Pause):
                await sleep(step.seconds)
                continue
            try:
                answer = await send(step)
            except ServingError as exc:
                error = exc
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        error = None  # its traceback refers to this frame
        steps.close()
