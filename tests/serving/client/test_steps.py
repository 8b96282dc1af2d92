"""Steps are taken alike by a blocking and by an asynchronous client."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from serving import DeadlineError
from serving.client.steps import Pause, Request, Steps, run, run_async
from serving.client.transport import ModelRef

FIRST, SECOND = (Request(path, None, ModelRef("m"), 1.0) for path in ("/first", "/second"))


def both(steps: Any, send: Any) -> list[Any]:
    """Return the results of the same steps, blocking and asynchronous."""

    async def send_async(request: Request) -> Any:
        return send(request)

    return [run(steps(), send), asyncio.run(run_async(steps(), send_async))]


def test_an_answer_is_the_value_of_the_step_and_the_return_value_is_the_result() -> None:
    def steps() -> Steps[str]:
        first = yield FIRST
        second = yield SECOND
        return f"{first} {second}"

    assert both(steps, lambda request: request.path) == ["/first /second"] * 2


def test_an_error_can_be_handled_by_the_steps() -> None:
    def steps() -> Steps[str]:
        try:
            yield FIRST
        except DeadlineError:
            return str((yield SECOND))
        return "not reached"

    def send(request: Request) -> str:
        if request is FIRST:
            raise DeadlineError("late")
        return "second"

    assert both(steps, send) == ["second"] * 2


def test_a_pause_waits_and_lets_other_tasks_run() -> None:
    def steps() -> Steps[None]:
        yield Pause(0.1)

    async def main() -> None:
        await asyncio.gather(*(run_async(steps(), asyncio.sleep) for _ in range(10)))

    start = time.monotonic()
    run(steps(), print)
    assert time.monotonic() - start >= 0.1
    start = time.monotonic()
    asyncio.run(main())
    assert 0.1 <= time.monotonic() - start < 0.5


def test_an_error_that_is_not_handled_leaves_no_circle_of_references() -> None:
    class Big:
        """Stands for the arrays of a request."""

    def steps(big: Big) -> Steps[None]:
        yield FIRST
        del big

    def send(request: Request) -> None:
        raise DeadlineError("late")

    big = Big()
    alive = weakref.ref(big)
    started = steps(big)
    del big
    gc.disable()
    try:
        with pytest.raises(DeadlineError):
            run(started, send)
        del started
        assert alive() is None
    finally:
        gc.enable()


def test_a_request_to_send_differs_only_in_headers_and_timeout() -> None:
    request = Request("/v1/models/m", b"{}", ModelRef("m"), 5.0, "GET", is_read=True, is_gzipped=True, headers=(("a", "b"),))
    headers = (("authorization", "Bearer t"),)

    assert request.to_send(headers) == request._replace(headers=headers)
    assert request.to_send(headers, 2.0) == request._replace(headers=headers, timeout=2.0)
    assert type(request.to_send(headers)) is Request
