"""Exchanges with a server as generators, which a blocking and an asynchronous client run alike.

A generator yields what has to be waited for, a `Request` or a `Pause`; `run` and `run_async` do it and send the answer back, or
throw the error in. Everything else (checks, encoding, decoding, retries) is in the generators, once for both clients.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from serving.client.transport import ModelRef
from serving.errors import ServingError

T = TypeVar("T")


Headers: TypeAlias = tuple[tuple[str, str], ...]


class Request(NamedTuple):
    """An encoded request.

    Attributes:
        path: target of the request: `/package.Service/Method` for gRPC, the URL's path for REST.
        body: the encoded message; None if it has none.
        ref: the model version that it is for.
        timeout: seconds from sending to the end of the answer.
        method: the HTTP method; gRPC has only POST.
        is_read: whether it only asks for a state, so that it can be repeated whatever happened to it.
        is_gzipped: whether the body is compressed with gzip (REST).
        headers: names in lower case and values of its headers; over gRPC, its metadata.
    """

    path: str
    body: bytes | None
    ref: ModelRef
    timeout: float
    method: str = "POST"
    is_read: bool = False
    is_gzipped: bool = False
    headers: Headers = ()

    def to_send(self, headers: Headers, timeout: float | None = None) -> Request:
        """Return the request with other headers, and with another timeout if one is given."""
        # `_replace` would leave up to 200 KB in CPython's list of free tuples, and takes longer.
        timeout = self.timeout if timeout is None else timeout
        return Request(self.path, self.body, self.ref, timeout, self.method, self.is_read, self.is_gzipped, headers)


class Pause(NamedTuple):
    """A wait for a number of seconds."""

    seconds: float


Steps: TypeAlias = Generator[Request | Pause, Any, T]
"""Steps to a result. The answer to a Request is the content that the server answers: a serialized message, or JSON."""


def with_exchange(steps: Steps[T], exchange: Callable[[Request], Steps[Any]]) -> Steps[T]:
    """Return steps that take the given ones, with an exchange of its own for each request.

    Args:
        steps: the steps.
        exchange: steps that send a request, once or more often, to the answer. A ServingError that they raise is raised in
            the given steps.
    """
    proceed: Callable[[], Request | Pause] = partial(steps.send, None)
    try:
        while True:
            try:
                step = proceed()
            except StopIteration as stop:
                result: T = stop.value
                return result
            proceed = partial(steps.send, None)
            if isinstance(step, Pause):
                yield step
                continue
            try:
                proceed = partial(steps.send, (yield from exchange(step)))
            except ServingError as exc:
                proceed = partial(steps.throw, exc)
    finally:
        del proceed  # the traceback of its error refers to this frame
        steps.close()


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
