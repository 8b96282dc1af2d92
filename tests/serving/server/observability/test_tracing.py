"""The spans of a server: one per request with its parts, below the client's span, and one per batch with links."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving import Client, RequestError
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server import Server
from serving.server.batching.metrics import BatchingMetrics
from serving.server.batching.parameters import QueueOptions
from serving.server.batching.scheduler import Scheduler
from serving.server.batching.session import BatchedServable
from serving.server.models.states import wait_until
from serving.server.observability.tracing import Part, attached, current, describe, joined, mark
from serving.server.observability.tracing import Spans as ServerSpans
from tests.serving.server.calls import SECONDS, SINGLE, post
from tests.serving.server.recordings import MODELS
from tests.serving.tracing.collected import Spans, application_spans

PREDICT = "tensorflow.serving.PredictionService/Predict"
REST = "POST /v1/models/{model}:predict"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "tracestate": "vendor=value"}
X = np.float32([[1, 2, 3, 4]])
MS = 1_000_000


@pytest.fixture(scope="module")
def traced_server() -> Iterator[tuple[Server, Spans]]:
    with application_spans() as spans, Server(MODELS / "rows", tracing=True) as server:
        yield server, spans


@pytest.fixture
def served(traced_server: tuple[Server, Spans]) -> tuple[Server, Spans]:
    traced_server[1].clear()
    return traced_server


def parts(spans: Spans, span: Any) -> list[str]:
    """Return the parts of a request; waits, which depend on the machine, are left out, and what they divide counts once."""
    names = (each.name for each in spans.below(span) if each.name not in ("receive", "wait"))
    return [name for name, _ in groupby(names)]


def ended(spans: Spans, name: str) -> Any:
    """Return the server's span of that name; it ends after the answer was sent."""
    assert wait_until(lambda: bool(spans.named(name, "SERVER")), seconds=SECONDS)
    return spans.one(name, "SERVER")


def test_grpc_request_is_a_span_below_the_clients_with_its_parts(served: tuple[Server, Spans]) -> None:
    server, spans = served
    with Client(f"127.0.0.1:{server.grpc_port}") as client:
        client.predict("rows", x=X, signature="single")
    span = ended(spans, PREDICT)
    assert span.parent.span_id == spans.one(PREDICT, "CLIENT").context.span_id
    assert span.parent.is_remote
    assert dict(span.attributes) == {
        "rpc.system.name": "grpc", "rpc.method": PREDICT, "rpc.response.status_code": "OK", "tfserving.model.name": "rows",
        "tfserving.model.version": 2, "tfserving.model.signature": "single",
    }  # fmt: skip
    assert parts(spans, span) == ["decode", "run", "encode"]
    children = spans.below(span)
    assert all(span.start_time <= each.start_time <= each.end_time <= span.end_time for each in children)
    assert all(first.end_time <= second.start_time for first, second in pairwise(children))


def test_rest_request_is_a_span_below_the_one_that_its_header_names(served: tuple[Server, Spans]) -> None:
    server, spans = served
    post(server, "rows/versions/2:predict", SINGLE, **PARENT)
    span = ended(spans, "POST /v1/models/{model}/versions/{version}:predict")
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.context.trace_state["vendor"] == "value"
    expected = {
        "http.request.method": "POST", "http.response.status_code": 200, "url.path": "/v1/models/rows/versions/2:predict",
        "url.scheme": "http", "http.route": "/v1/models/{model}/versions/{version}:predict", "server.address": "127.0.0.1",
        "server.port": server.rest_port, "tfserving.model.name": "rows", "tfserving.model.version": 2,
        "tfserving.model.signature": "single",
    }  # fmt: skip
    assert {key: value for key, value in span.attributes.items() if key != "user_agent.original"} == expected
    assert parts(spans, span) == ["decode", "run", "encode"]


def test_mistake_of_a_client_is_recorded_but_is_no_error_of_the_server(served: tuple[Server, Spans]) -> None:
    server, spans = served
    with Client(f"127.0.0.1:{server.grpc_port}") as client, pytest.raises(RequestError):
        client.predict("nope", x=X)
    span = ended(spans, PREDICT)
    assert span.status.is_unset
    assert span.attributes["rpc.response.status_code"] == span.attributes["error.type"] == "NOT_FOUND"
    assert span.attributes["tfserving.model.name"] == "nope"
    with pytest.raises(urllib.error.HTTPError):
        post(server, "nope:predict", SINGLE)
    span = ended(spans, REST)
    assert span.status.is_unset and span.attributes["error.type"] == "404"


def test_fault_of_the_server_is_an_error_of_the_request_and_of_its_part(
    served: tuple[Server, Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, spans = served

    def fail(*_: Any) -> Any:
        raise StatusError(Code.INTERNAL, "out of cheese")

    from serving.server.servables.saved_model import SavedModelServable

    monkeypatch.setattr(SavedModelServable, "_check_dtypes", fail)
    with Client(f"127.0.0.1:{server.grpc_port}") as client, pytest.raises(RequestError):
        client.predict("rows", x=X)
    span = ended(spans, PREDICT)
    assert span.status.status_code.name == "ERROR" and span.status.description == "out of cheese"
    assert [each.name for each in spans.below(span) if each.status.status_code.name == "ERROR"] == ["run"]
    with pytest.raises(urllib.error.HTTPError):
        post(server, "rows:predict", SINGLE)
    span = ended(spans, REST)
    assert span.status.status_code.name == "ERROR" and span.attributes["http.response.status_code"] == 500


def test_questions_of_probes_and_scrapes_are_traced_only_within_a_trace(served: tuple[Server, Spans]) -> None:
    server, spans = served
    base = f"http://127.0.0.1:{server.rest_port}"
    with Client(f"127.0.0.1:{server.grpc_port}") as client:
        client.status("rows")
    for path in ("/v1/models/rows", "/"):
        urllib.request.urlopen(f"{base}{path}", timeout=SECONDS).close()
    request = urllib.request.Request(f"{base}/v1/models/rows", headers=PARENT)
    urllib.request.urlopen(request, timeout=SECONDS).close()
    ended(spans, "GET /v1/models/{model}")
    assert len(spans.all) == len(spans.below(spans.one("GET /v1/models/{model}"))) + 1


@pytest.mark.parametrize("header", ["00-zz-b7ad6b7169203331-01", "", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 10_000])
def test_damaged_traceparent_begins_a_new_trace(header: str, served: tuple[Server, Spans]) -> None:
    server, spans = served
    post(server, "rows:predict", SINGLE, traceparent=header, tracestate="=,=" * 5000)
    assert ended(spans, REST).parent is None


def test_request_of_a_trace_that_is_not_sampled_is_left_out(served: tuple[Server, Spans]) -> None:
    server, spans = served
    post(server, "rows:predict", SINGLE, traceparent=PARENT["traceparent"][:-1] + "0")
    assert not spans.all


class Doubler:
    """`y` is twice `x`; it waits for the gate."""

    path = "/models/doubler/1"

    def __init__(self) -> None:
        self.signatures: dict[str, Any] = {}
        self.gate = threading.Event()
        self.sizes: list[int] = []

    def run(self, feeds: Any, fetches: Any) -> list[Any]:
        mark("run")
        self.sizes.append(len(feeds["x"]))
        self.gate.wait(SECONDS)
        if (feeds["x"] < 0).any():
            raise invalid_argument("negative")
        return [feeds["x"] * 2 for _ in fetches]

    def close(self) -> None:
        return


def batched(spans: Spans, *values: float | None, **options: Any) -> list[Any]:
    """Run requests as one batch, each in a trace of its own, but for None. Return answers and errors."""
    model, scheduler, begin = Doubler(), Scheduler(1), ServerSpans(spans.tracer)
    limits = {"input_limit": 8, "execution_limit": 8, "timeout_seconds": SECONDS, "allowed_sizes": (2, 8), **options}
    servable = BatchedServable(model, scheduler, QueueOptions(**limits), BatchingMetrics())
    model.gate.set()

    def request(number: int, value: float | None) -> Any:
        trace = begin.begin(f"request {number}", {}, {}) if value is not None else None
        rows = np.full((8 - len(values) + 1 if number == len(values) - 1 else 1, 1), value or 0, np.float32)
        try:
            with attached(trace):
                return servable.run({"x": rows}, ["y"])
        finally:
            if trace is not None:
                trace.end()

    def waiting() -> int:
        return sum(len(each.tasks) for queue in servable._queues.values() for each in queue._batches)

    with ThreadPoolExecutor(8) as pool:
        futures = []
        for number, value in enumerate(values):
            futures.append(pool.submit(request, number, value))
            last = number == len(values) - 1
            assert last or wait_until(lambda number=number: waiting() > number, seconds=SECONDS)
        found = [future.exception() or future.result() for future in futures]
    scheduler.stop()
    return found


def test_batch_links_to_its_requests_and_they_to_it() -> None:
    spans = Spans()
    batched(spans, 1.0, 2.0, 3.0)
    requests = [spans.one(f"request {number}") for number in range(3)]
    first, *others = ([each.name for each in spans.below(request)] for request in requests)
    assert first == others[0] == others[1] == ["queue", "batch"]
    shared = spans.below(requests[0])[-1]
    assert {link.context.span_id for link in shared.links} == {request.context.span_id for request in requests}
    assert [each.name for each in spans.below(shared)] == ["merge", "run", "split"]
    for request in requests[1:]:
        own = spans.below(request)[-1]
        assert [link.context for link in own.links] == [shared.context]
        assert dict(own.attributes) == dict(shared.attributes)
    assert dict(shared.attributes) == {"tfserving.batch.rows": 8, "tfserving.batch.size": 8, "tfserving.batch.requests": 3}


def test_requests_that_are_not_traced_are_counted_but_not_linked() -> None:
    spans = Spans()
    batched(spans, None, 2.0)
    shared = spans.one("batch")
    assert [link.context for link in shared.links] == [spans.one("request 1").context]
    assert shared.attributes["tfserving.batch.requests"] == 2
    silent = Spans()
    batched(silent, None, None)
    assert not silent.all


def test_failed_batch_is_an_error_with_the_reason() -> None:
    spans = Spans()
    errors = batched(spans, 1.0, -1.0)
    assert all(isinstance(error, StatusError) for error in errors)
    shared = next(span for span in spans.named("batch") if len(span.links) == 2)
    assert shared.status.description == "negative" and shared.attributes["error.type"] == "INVALID_ARGUMENT"
    assert [each.name for each in spans.below(shared) if each.status.status_code.name == "ERROR"] == ["run"]


def test_split_request_has_a_queue_and_a_batch_per_part() -> None:
    spans = Spans()
    trace = ServerSpans(spans.tracer).begin("request", {}, {})
    assert trace is not None
    model, scheduler = Doubler(), Scheduler(2)
    model.gate.set()
    options = QueueOptions(input_limit=8, execution_limit=2, splits=True)
    with attached(trace):
        BatchedServable(model, scheduler, options, BatchingMetrics()).run({"x": np.zeros((4, 1), np.float32)}, ["y"])
    trace.end()
    scheduler.stop()
    assert sorted(each.name for each in spans.below(spans.one("request"))) == ["batch", "batch", "queue", "queue"]


def test_short_waits_are_left_out_and_what_they_divided_is_one_part() -> None:
    short, long = 1000, 3 * MS
    given = [
        Part("receive", 0, short), Part("decode", short, MS), Part("wait", MS, MS + short), Part("decode", MS + short, 2 * MS),
        Part("wait", 2 * MS, 2 * MS + long), Part("decode", 2 * MS + long, 9 * MS),
    ]  # fmt: skip
    assert [(part.name, part.start, part.end) for part in joined(given)] == [
        ("decode", short, 2 * MS), ("wait", 2 * MS, 2 * MS + long), ("decode", 2 * MS + long, 9 * MS),
    ]  # fmt: skip


def test_work_that_goes_on_after_the_end_of_its_request_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """A thread works on although its client has got a 504."""
    spans = Spans()
    trace = ServerSpans(spans.tracer).begin("request", {}, {})
    assert trace is not None
    trace.end()
    with attached(trace):
        mark("run")
        describe("tfserving.model.name", "m")
    assert [span.name for span in spans.all] == ["request"] and not spans.all[0].attributes
    assert not caplog.records


def test_nothing_is_traced_outside_of_a_request() -> None:
    mark("run")
    describe("tfserving.model.name", "m")
    assert current() is None


@pytest.mark.slow
def test_server_without_tracing_imports_nothing_of_opentelemetry() -> None:
    code = f"""
import json, sys
from serving import Client, Server
import numpy as np
with Server({str(MODELS / "rows")!r}) as server, Client(f"127.0.0.1:{{server.grpc_port}}") as client:
    client.predict("rows", x=np.float32([[1, 2, 3, 4]]))
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).parents[4])
    assert done.stdout.splitlines()[-1] == "[]"


def test_grpc_call_whose_message_never_comes_is_no_fault_of_the_server(served: tuple[Server, Spans]) -> None:
    server, spans = served
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.stream_unary(f"/{PREDICT}")
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    span = ended(spans, PREDICT)
    assert span.attributes["rpc.response.status_code"] == "UNIMPLEMENTED"
