"""What is sent again and when: within one deadline, by the server's own wish, and never what may have been executed."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from serving import (
    AsyncClient,
    Client,
    ConnectionSettings,
    Credentials,
    DeadlineError,
    RequestError,
    RetryPolicy,
    ServingError,
)
from serving.client.dispatch import Dispatch
from serving.client.grpc_protocol import GrpcProtocol
from serving.client.http_exchange import Answer, retry_seconds
from serving.client.rest_protocol import RestProtocol
from serving.client.steps import Pause, Request, Steps, run
from serving.client.transport import ModelRef, Target
from serving.launch.server_process import ServerEndpoints
from tests.serving.clients import each_client
from tests.serving.processes import free_port
from tests.serving.servers import small_server

client_class = each_client(__name__)
X = np.ones((1, 3), np.float32)
TARGET = Target.parse("localhost:8500")
INFERENCE, READ = Request("/p", b"", ModelRef("m"), 5.0), Request("/g", b"", ModelRef("m"), 5.0, is_read=True)


def unavailable(message: str, **metadata: str) -> ServingError:
    """Return the error of a call that ended with gRPC's UNAVAILABLE."""
    pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    return GrpcProtocol(TARGET).error(INFERENCE, "UNAVAILABLE", message, pairs, is_closed=False)


def refusal(status: int, body: str = "{}", **more: str) -> ServingError:
    """Return the error of an answer over REST."""
    with pytest.raises(RequestError) as caught:
        RestProtocol(TARGET).content(INFERENCE, Answer(status, body.encode(), "", **more))
    return caught.value


def tries(
    error: Callable[[], ServingError], request: Request = INFERENCE, policy: RetryPolicy | None = None
) -> tuple[int, list[float]]:
    """Return how often a request is sent whose every try ends with this error, and the pauses between."""
    pauses: list[float] = []
    count = 0

    def steps() -> Steps[None]:
        yield request

    walk = Dispatch(ConnectionSettings(retry=policy or RetryPolicy()), TARGET).steps(steps())
    try:
        step = walk.send(None)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = walk.send(None)
                continue
            count += 1
            step = walk.throw(error())
    except ServingError:
        return count, pauses


UNSENT = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
ENVOY = "upstream connect error or disconnect/reset before headers. reset reason: "


@pytest.mark.parametrize(
    ("error", "inference", "read"),
    [
        (lambda: unavailable(UNSENT), 3, 3),
        (lambda: unavailable("The batch scheduling queue to which this task was submitted is full"), 3, 3),
        (lambda: unavailable("Stream removed (Socket closed)"), 1, 3),
        (lambda: unavailable("Cancelling all calls"), 1, 3),
        (lambda: unavailable("Too many pings"), 1, 3),
        (lambda: unavailable(ENVOY + "connection failure"), 3, 3),
        (lambda: unavailable(ENVOY + "connection termination"), 1, 1),
        (lambda: unavailable("full", grpc_retry_pushback_ms="-1"), 1, 1),
        (lambda: refusal(503), 3, 3),
        (lambda: refusal(503, ENVOY + "connection termination"), 1, 1),
        (lambda: refusal(502), 1, 1),
        (lambda: refusal(429), 1, 1),
        (lambda: refusal(500), 1, 1),
        (lambda: RestProtocol(TARGET).no_connection("Connection refused"), 3, 3),
        (lambda: RestProtocol(TARGET).lost("Connection reset by peer"), 1, 3),
        (lambda: RestProtocol(TARGET).late(INFERENCE), 1, 1),
    ],
)
def test_only_what_no_server_has_executed_is_sent_again(error: Callable[[], ServingError], inference: int, read: int) -> None:
    assert (tries(error)[0], tries(error, READ)[0]) == (inference, read)
    assert tries(error, policy=RetryPolicy(attempts=1))[0] == 1


def test_a_lost_inference_is_sent_again_if_the_user_says_so() -> None:
    assert tries(lambda: unavailable("Socket closed"), policy=RetryPolicy(lost=True))[0] == 3


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    policy = RetryPolicy(attempts=8, first_pause=0.1, longest_pause=0.5)
    _, pauses = tries(lambda: unavailable(UNSENT), policy=policy)
    limits = [0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5]
    assert len(pauses) == 7 and all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    assert len({tries(lambda: unavailable(UNSENT), policy=policy)[1][0] for _ in range(5)}) > 1


def test_the_server_decides_how_long_to_wait() -> None:
    assert tries(lambda: unavailable("full", grpc_retry_pushback_ms="1500"))[1] == [1.5, 1.5]
    assert tries(lambda: unavailable("full", grpc_retry_pushback_ms="soon"))[0] == 1
    assert tries(lambda: refusal(503, retry_after="2"))[1] == [2.0, 2.0]
    assert tries(lambda: refusal(503, retry_after="60"))[0] == 1  # beyond the timeout


def test_retry_after_may_be_a_date() -> None:
    at = datetime.now(timezone.utc) + timedelta(seconds=100)
    seconds = retry_seconds(format_datetime(at, usegmt=True))
    assert seconds is not None and 95 < seconds <= 100
    assert retry_seconds("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    assert [retry_seconds(text) for text in ("", "soon", "-1")] == [None, None, None]


def test_the_timeout_covers_all_tries() -> None:
    given: list[float] = []
    errors = itertools.chain([DeadlineError("late")])

    def steps() -> Steps[None]:
        yield Request("/p", b"", ModelRef("m"), 0.5)

    def send(request: Request) -> Any:
        given.append(request.timeout)
        time.sleep(0.1)
        raise unavailable("full") if len(given) < 3 else next(errors)

    policy = RetryPolicy(attempts=9, first_pause=0.02)
    with pytest.raises(DeadlineError, match=r"No answer within 0\.5 s, in 3 tries"):
        run(Dispatch(ConnectionSettings(retry=policy), TARGET).steps(steps()), send)
    assert given[0] == 0.5 and given[1] < 0.4 and given[2] < 0.29


def test_a_caller_that_stops_waiting_ends_the_tries() -> None:
    async def main() -> None:
        policy = RetryPolicy(attempts=100, first_pause=5)
        async with AsyncClient(f"127.0.0.1:{free_port()}", connection=ConnectionSettings(retry=policy)) as client:
            await asyncio.wait_for(client.status("m"), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


@pytest.fixture(scope="module")
def reluctant() -> Iterator[ServerEndpoints]:
    """A server that refuses the first two inferences of each user."""
    with small_server("--refusals", "2") as endpoints:
        yield endpoints


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_a_server_that_refuses_twice_answers_the_third_try(reluctant: ServerEndpoints, kind: str) -> None:
    target = reluctant.grpc_target if kind == "grpc" else reluctant.rest_target
    for settings in (ConnectionSettings().single_tries(), ConnectionSettings()):
        settings = replace(settings, credentials=Credentials({"x-user": uuid4().hex}))
        with Client(target, connection=settings) as client:
            if settings.retry.attempts == 1:
                with pytest.raises(RequestError, match="no server is free"):
                    client.predict("affine", x=X)
            else:
                np.testing.assert_array_equal(client.predict("affine", x=X, version=1)["y"], X * 2 + 1)
