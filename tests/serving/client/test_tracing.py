"""A client's requests are spans of the application's trace, and carry it; without a tracer provider nothing happens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import AsyncClient, Client, ConnectionFailedError, RequestError
from serving.client.connection import ConnectionSettings, RetryPolicy
from serving.client.steps import Pause, Request, run
from serving.client.tracing import traced
from serving.client.transport import ModelRef, Target
from serving.launch.server_process import ServerEndpoints
from tests.hidden import run_without
from tests.serving.processes import free_port
from tests.serving.servers import small_server
from tests.serving.tracing.collected import Spans, application_spans

X = np.float32([[1, 2, 3]])
PREDICT = "tensorflow.serving.PredictionService/Predict"
REST = "POST /v1/models/{model}:predict"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


@pytest.fixture
def spans() -> Iterator[Spans]:
    with application_spans() as spans:
        yield spans


def test_grpc_request_is_a_span_below_the_applications(server: ServerEndpoints, spans: Spans) -> None:
    with Client(server.grpc_target) as client, spans.tracer.start_as_current_span("checkout") as outer:
        client.predict("affine", x=X, version=2)
    span = spans.one(PREDICT, "CLIENT")
    assert span.parent == outer.get_span_context()
    assert span.status.is_unset
    assert dict(span.attributes) == {
        "rpc.system.name": "grpc", "rpc.method": PREDICT, "rpc.response.status_code": "OK", "server.address": "127.0.0.1",
        "server.port": server.grpc_port, "tfserving.model.name": "affine", "tfserving.model.version": 2,
    }  # fmt: skip


def test_rest_request_is_a_span_with_the_names_of_http(server: ServerEndpoints, spans: Spans) -> None:
    with Client(server.rest_target) as client:
        client.predict("affine", x=X)
        client.predict("affine", x=X, label="stable")
    span = spans.one(REST, "CLIENT")
    assert dict(span.attributes) == {
        "http.request.method": "POST", "url.full": f"{server.rest_target}/v1/models/affine:predict",
        "url.template": "/v1/models/{model}:predict", "http.response.status_code": 200, "server.address": "127.0.0.1",
        "server.port": server.rest_port, "tfserving.model.name": "affine",
    }  # fmt: skip
    assert spans.one("GET /v1/models/{model}/metadata")
    labelled = spans.one("POST /v1/models/{model}/labels/{label}:predict")
    assert labelled.attributes["tfserving.model.label"] == "stable"


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_async_requests_are_spans_of_their_own_tasks(kind: str, server: ServerEndpoints, spans: Spans) -> None:
    target = server.grpc_target if kind == "grpc" else server.rest_target

    async def one(client: AsyncClient, name: str) -> None:
        with spans.tracer.start_as_current_span(name):
            await client.predict("affine", x=X)

    async def both() -> None:
        async with AsyncClient(target) as client:
            await client.metadata("affine")
            await asyncio.gather(one(client, "first"), one(client, "second"))

    asyncio.run(both())
    for name in ("first", "second"):
        outer = spans.one(name)
        inner = [span for span in spans.below(outer) if span.name in (PREDICT, REST)]
        assert len(inner) == 1 and inner[0].context.trace_id == outer.context.trace_id


@pytest.mark.parametrize(("kind", "code"), [("grpc", "NOT_FOUND"), ("rest", "404")])
def test_refused_request_is_an_error(kind: str, code: str, server: ServerEndpoints, spans: Spans) -> None:
    with Client(server.grpc_target if kind == "grpc" else server.rest_target) as client, pytest.raises(RequestError):
        client.metadata("nope")
    (span,) = spans.all
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == code
    if kind == "grpc":
        assert span.attributes["rpc.response.status_code"] == "NOT_FOUND"
        assert "Servable not found" in span.status.description


def test_each_try_to_connect_is_an_error_of_its_own(spans: Spans) -> None:
    settings = ConnectionSettings(retry=RetryPolicy(attempts=2, first_pause=0.01))
    with Client(f"http://127.0.0.1:{free_port()}", connection=settings) as client, pytest.raises(ConnectionFailedError):
        client.predict("affine", x=X)
    assert [span.attributes["error.type"] for span in spans.all] == ["ConnectionFailedError"] * 2
    assert all("Cannot connect" in span.status.description for span in spans.all)


def test_each_attempt_of_a_call_is_a_span_and_carries_its_own_id(spans: Spans) -> None:
    sent: list[Request] = []

    def steps() -> Any:
        for _ in range(2):
            answer = yield Request(f"/{PREDICT}", b"", ModelRef("m"), 1.0)
            yield Pause(0.0)
        return answer

    def send(request: Request) -> bytes:
        sent.append(request)
        return b"answer"

    assert run(traced(steps(), Target("localhost:1")), send) == b"answer"
    contexts = [span.context for span in spans.named(PREDICT)]
    ids = [f"00-{each.trace_id:032x}-{each.span_id:016x}-{each.trace_flags:02x}" for each in contexts]
    assert len(set(ids)) == 2
    assert [dict(request.headers)["traceparent"] for request in sent] == ids


def test_request_of_a_trace_that_is_not_sampled_says_so_to_the_server() -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    sent: list[Request] = []

    def steps() -> Any:
        return (yield Request(f"/{PREDICT}", b"", ModelRef("m"), 1.0))

    with application_spans(sampler=ALWAYS_OFF) as spans:
        run(traced(steps(), Target("localhost:1")), sent.append)
        assert not spans.all
    assert not int(dict(sent[0].headers)["traceparent"].rpartition("-")[2], 16) & 1


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_polls_for_the_state_of_a_model_are_not_traced(kind: str, server: ServerEndpoints, spans: Spans) -> None:
    with Client(server.grpc_target if kind == "grpc" else server.rest_target) as client:
        client.wait_until_ready("affine")
        client.status("affine")
    assert not spans.all


def test_client_without_opentelemetry_works_and_with_it_does_not_import_it(server: ServerEndpoints) -> None:
    code = """
import json, sys
import numpy as np
from serving import Client
answers = []
for target in sys.argv[1:]:
    with Client(target) as client:
        answers.append(client.predict("affine", x=np.float32([[1, 2, 3]]), version=1)["y"].tolist())
print(json.dumps([answers, [name for name in sys.modules if name.startswith("opentelemetry")]]))
"""
    expected = [[[[3, 5, 7]]] * 2, []]
    assert run_without({"opentelemetry"}, code, server.grpc_target, server.rest_target) == expected
    command = [sys.executable, "-c", code, server.grpc_target, server.rest_target]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[3])
    assert done.stdout == f"{expected}\n".replace("3, 5, 7", "3.0, 5.0, 7.0")


def test_application_that_imports_the_api_alone_has_no_spans_and_the_same_steps() -> None:
    steps = iter(())
    assert traced(steps, Target("localhost:1")) is steps  # type: ignore[arg-type]
