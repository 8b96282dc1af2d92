"""A proxy that reads only the headers of a request can send it to the servers of the named version or label."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import numpy as np
import pytest

from serving import Client, RequestError
from serving.client.prepared_request import PreparedRequest
from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, serving_message
from tests.serving.clients import each_client

X = {"x": np.float32([1])}
Headers = dict[str, str]

client_class = each_client(__name__)

REQUESTS: dict[str, Callable[[Client, dict[str, Any]], object]] = {
    "predict": lambda client, where: client.predict("m", X, **where),
    "classify": lambda client, where: client.classify("m", [{"x": 1}], **where),
    "regress": lambda client, where: client.regress("m", [{"x": 1}], **where),
    "metadata": lambda client, where: client.metadata("m", **where),
    "a prepared request": lambda client, where: client.prepare("m", X, **where)(),
}
NAMES: dict[str, tuple[dict[str, Any], Headers]] = {
    "nothing": ({}, {}),
    "version": ({"version": 12}, {"x-model-version": "12"}),
    "label": ({"label": "canary-2.x"}, {"x-model-label": "canary-2.x"}),
}
NO_HEADER = ("grün", "a\nx-model-version: 1", "a\r\n", "tab\t", "\x7f", " padded", "", "\U0001f600", "x" * 257)
"""Labels that a client accepts and that no header can carry unchanged."""


@pytest.fixture
def grpc_log() -> Iterator[tuple[str, list[Headers]]]:
    """Yield the target of a gRPC server that refuses each request, and the headers of the requests."""
    received: list[Headers] = []

    class Refuse(grpc.GenericRpcHandler):
        def service(self, call: Any) -> Any:
            assert call.method.startswith((f"/{PREDICTION_SERVICE}/", f"/{MODEL_SERVICE}/"))
            received.append({name: value for name, value in call.invocation_metadata if name.startswith("x-")})
            return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "none"))

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Refuse(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", received
    server.stop(None)


@pytest.fixture
def rest_log() -> Iterator[tuple[str, list[Headers]]]:
    """Yield the target of a REST server that refuses each request, and the headers of the requests."""
    received: list[Headers] = []

    class Refuse(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet, for speed

        def do_GET(self) -> None:
            received.append({name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-")})
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps({"error": "none"}).encode()
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("log", ["grpc_log", "rest_log"])
def test_each_request_names_its_version_or_label_in_a_header(log: str, request: pytest.FixtureRequest) -> None:
    target, received = request.getfixturevalue(log)
    with Client(target) as client:
        for what, send in REQUESTS.items():
            for where, headers in NAMES.values():
                received.clear()
                with pytest.raises(RequestError, match="none"):
                    send(client, where)
                assert received and all(got == headers for got in received), (what, where)
        received.clear()
        with pytest.raises(RequestError, match="none"):
            client.status("m", version=3)
        assert received == [{"x-model-version": "3"}]


@pytest.mark.parametrize("log", ["grpc_log", "rest_log"])
def test_a_label_that_no_header_can_carry_is_sent_without(log: str, request: pytest.FixtureRequest) -> None:
    target, received = request.getfixturevalue(log)
    with Client(target) as client:
        for label in NO_HEADER:
            with pytest.raises(RequestError, match="none"):
                client.metadata("m", label=label)
    assert received == [{}] * len(NO_HEADER)


def test_the_requests_of_smoke_and_bench_name_their_version(grpc_log: tuple[str, list[Headers]]) -> None:
    target, received = grpc_log
    request = PreparedRequest("m", X, version=2)
    with Client(target) as client:
        for send in (request.send, lambda client: request.prepare(client)()):
            with suppress(RequestError):
                send(client)
    assert received == [{"x-model-version": "2"}] * 2


def test_the_label_stays_in_the_body_of_a_request() -> None:
    bodies = []

    def refuse(data: bytes, context: grpc.ServicerContext) -> None:
        bodies.append(serving_message("PredictRequest").FromString(data).model_spec.version_label)
        context.abort(grpc.StatusCode.NOT_FOUND, "none")

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"Predict": grpc.unary_unary_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PREDICTION_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}") as client:
        for label in ("stable", "grün"):
            with pytest.raises(RequestError):
                client.predict("m", X, label=label)
    server.stop(None)
    assert bodies == ["stable", "grün"]
