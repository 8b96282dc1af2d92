"""HTTP requests that no client library sends, answered as libevent does in the real server."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from serving.server import Server, ServerOptions
from tests.serving.server.recordings import MODELS

PREDICT = b'{"signature_name": "single", "instances": [[1, 2, 3, 4]]}'
EMPTY = "JSON Parse error: The document is empty"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("http")
    monitoring, models = folder / "monitoring.config", folder / "models.config"
    monitoring.write_text("prometheus_config { enable: true }")
    models.write_text(
        "model_config_list {"
        + "".join(
            f' config {{ name: "{name}" base_path: "{MODELS / name}" model_platform: "tensorflow" }}'
            for name in ("rows", "clsreg")
        )
        + "}"
    )
    options = ServerOptions(
        model_config_file=str(models), monitoring_config_file=str(monitoring), grpc_port=0, rest_port=0
    )
    with Server(options) as running:
        yield running


def send(server: Server, line: bytes, body: bytes = b"", *headers: bytes) -> tuple[int, str, bytes]:
    """Send a raw request. Return status, content type and body of the answer."""
    head = b"\r\n".join([line + b" HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *headers, b"", b""])
    with socket.create_connection(("127.0.0.1", server.rest_port or 0), timeout=20) as connection:
        connection.sendall(head + body)
        with connection.makefile("rb") as reply:
            status = int(reply.readline().split()[1])
            fields = {}
            while line := reply.readline().strip():
                name, _, value = line.decode().partition(": ")
                fields[name.lower()] = value
            return status, fields["content-type"], reply.read(int(fields["content-length"]))


def call(server: Server, path: bytes, body: bytes, *headers: bytes) -> tuple[int, Any]:
    status, _, answer = send(server, b"POST /v1/models/" + path, body, *headers)
    return status, json.loads(answer.decode("utf-8", "surrogateescape"))


def page(status: int, phrase: str) -> tuple[int, str, bytes]:
    text = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    return status, "text/html", text.encode()


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"PROPFIND", b"FOO", b"get"])
def test_unknown_http_method_is_501(server: Server, method: bytes) -> None:
    assert send(server, method + b" /v1/models/rows") == page(501, "Not Implemented")


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH"])
def test_method_that_the_api_does_not_handle_is_malformed(server: Server, method: bytes) -> None:
    status, kind, body = send(server, method + b" /v1/models/rows")
    assert (status, kind) == (400, "application/json")
    assert json.loads(body) == {"error": f"Malformed request: {method.decode()} /v1/models/rows"}


@pytest.mark.parametrize("target", [b"/v1/models/ro%zz", b"/v1/models/ro%2", b"/v1/models/{x}", b'/v1/"', b"/v1/a b"])
def test_target_that_is_not_a_uri_is_400(server: Server, target: bytes) -> None:
    assert send(server, b"GET " + target) == page(400, "Bad Request")


def test_scheme_and_authority_are_ignored(server: Server) -> None:
    status, _, body = send(server, b"GET http://elsewhere:1/v1/models/rows")
    assert status == 200
    assert json.loads(body)["model_version_status"][0]["state"] == "AVAILABLE"


def test_metrics_have_one_path(server: Server) -> None:
    path = "/monitoring/prometheus/metrics"
    assert send(server, f"GET {path}".encode())[:2] == (200, "text/plain")
    error = f"Unexpected path: {path}?x=1. Should be {path}".encode()
    assert send(server, f"GET {path}?x=1".encode()) == (400, "text/plain", error)


def test_long_heads_are_read(server: Server) -> None:
    assert send(server, b"GET /v1/models/" + b"a" * 20_000)[0] == 404
    assert send(server, b"GET /v1/models/rows", b"", b"X-Long: " + b"a" * 20_000)[0] == 200
    assert send(server, b"GET /v1/models/rows/versions/" + b"9" * 5000)[::2] == (400, b"")


def test_gzipped_body_must_end_with_its_first_member(server: Server) -> None:
    packed = gzip.compress(PREDICT)
    assert call(server, b"rows:predict", packed, b"Content-Encoding: gzip")[0] == 200
    for more in (b"x", b"\0\0", gzip.compress(b" ")):
        answer = call(server, b"rows:predict", packed + more, b"Content-Encoding: gzip")
        assert answer == (400, {"error": EMPTY})


def test_names_that_are_not_utf8_are_answered_as_they_are(server: Server) -> None:
    status, answer = call(server, b"clsreg:classify", b'{"signature_name": "\xff", "examples": [{"x": 1.5}]}')
    assert (status, answer["error"]) == (400, "No signature was found with the name: \udcff")
    status, answer = call(server, b"gone:classify", b'{"signature_name": "\xff", "examples": [{"x": 1.5}]}')
    assert (status, answer["error"]) == (404, "Servable not found for request: Latest(gone)")
    body = b'{"signature_name": "regress", "examples": [{"x": [1.0, 2.0], "\xff": 1}]}'
    assert call(server, b"clsreg:regress", body) == (200, {"results": [10.0]})
