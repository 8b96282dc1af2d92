"""A client of a server that lies, sends without end, or answers nonsense: it raises a clear error, in time, within its memory."""

from __future__ import annotations

import gzip
import json
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from serving import Client, ProtocolError, RequestError, ServingError
from serving.protocol.messages import message, serving_message
from serving.protocol.tensors import to_proto
from tests.serving.clients import each_client
from tests.serving.memory import assert_allocates_less_than

client_class = each_client(__name__)

LIMIT = 4_000_000
MEBIBYTE = 1 << 20
X = np.zeros((1, 2), np.float32)

METADATA = {
    "model_spec": {"name": "m", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}}},
                    "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}}},
                    "method_name": "tensorflow/serving/predict",
                }
            }
        }
    },
}

Send = Callable[[socket.socket], None]


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    predict: Send
    metadata: bytes


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        received = b""
        try:
            while piece := self.request.recv(65536):
                received += piece
                if received.startswith(b"GET") and b"/metadata" in received and received.endswith(b"\r\n\r\n"):
                    self.request.sendall(http(self.server.metadata))
                    received = b""
                elif _is_complete(received):
                    self.server.predict(self.request)
                    return
        except OSError:
            return


def _is_complete(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)


@contextmanager
def rest_server(predict: bytes | Send, metadata: object = METADATA) -> Iterator[str]:
    """Run a server that sends honest metadata and answers everything else as given; yield its URL."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.predict = predict if callable(predict) else lambda sock: sock.sendall(predict)
        server.metadata = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def grpc_server(answer: bytes, **options: Any) -> Iterator[str]:
    """Run a server that answers every call with the same bytes; yield its address."""

    class Any_(grpc.GenericRpcHandler):  # noqa: N801
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer, None, None)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Any_()], **options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def refused(target: str, match: str, kind: type[ServingError] = ProtocolError, timeout: float = 5.0) -> ServingError:
    """Assert that predict fails with an error of this kind, in time and within the memory, and return it."""
    started = time.monotonic()
    with (
        Client(target, timeout=timeout, max_response_bytes=LIMIT) as client,
        assert_allocates_less_than(3 * LIMIT + MEBIBYTE),
        pytest.raises(kind, match=match) as caught,
    ):
        client.predict("m", x=X)
    assert time.monotonic() - started < timeout + 3
    assert caught.value.fix
    return caught.value


def answer_of(**fields: Any) -> bytes:
    tensor = message("tensorflow.TensorProto")(**fields)
    response = serving_message("PredictResponse")()
    response.outputs["y"].CopyFrom(tensor)
    return bytes(response.SerializeToString())


def shape(*sizes: int) -> dict[str, Any]:
    return {"dim": [{"size": size} for size in sizes]}


GRPC_LIES = {
    "a huge shape with one value": (answer_of(dtype=1, tensor_shape=shape(3_000_000_000), float_val=[1]), "more than the limit"),
    "a huge shape of strings": (answer_of(dtype=7, tensor_shape=shape(10**9), string_val=[b""]), "more than the limit"),
    "a shape beyond 64 bits": (answer_of(dtype=1, tensor_shape=shape(*[2**62] * 5)), "more than the limit"),
    "an overflow beside an empty dim": (answer_of(dtype=1, tensor_shape=shape(0, 2**62, 2**62)), "No array can have"),
    "more dims than NumPy has": (answer_of(dtype=1, tensor_shape=shape(*[1] * 200)), "No array can have"),
    "thousands of dims": (answer_of(dtype=1, tensor_shape=shape(*[1] * 50_000)), "output 'y' cannot be read"),
    "a negative size": (answer_of(dtype=1, tensor_shape=shape(-5)), "not fully known"),
    "too little content": (answer_of(dtype=1, tensor_shape=shape(1000), tensor_content=b"abcd"), "has 4 bytes, not 4000"),
    "lengths of strings that lie": (answer_of(dtype=7, tensor_shape=shape(2), tensor_content=b"\xff\x7f\x01a"), "lengths add up"),
    "an unknown dtype": (answer_of(dtype=99, tensor_shape=shape(1)), "number 99"),
    "no tensor at all": (b"\xff" * 100, "not a PredictResponse"),
    "a name that is not UTF-8": (b"\x0a\x07\x0a\x01\xff\x12\x02\x08\x01", "not a PredictResponse"),
    "many tiny strings": (answer_of(dtype=7, tensor_shape=shape(1), string_val=[b""] * 500_000), "more than the limit"),
    "many empty entries": (b"\x0a\x00" * 1_000_000, "more than the limit"),
    "an answer that is too long": (b"\x0a\x01\x00" * 2_000_000, "exceeds the limit"),
}  # fmt: skip


@pytest.mark.parametrize("lie", GRPC_LIES)
def test_a_lie_over_grpc_is_a_clear_error(lie: str) -> None:
    answer, match = GRPC_LIES[lie]
    with grpc_server(answer) as target:
        refused(target, match)


def test_a_compression_bomb_over_grpc_is_not_decompressed() -> None:
    answer = answer_of(dtype=4, tensor_shape=shape(50_000_000), tensor_content=bytes(50_000_000))
    with grpc_server(answer, compression=grpc.Compression.Gzip) as target:
        refused(target, "exceeds the limit")


def test_a_server_that_would_like_to_compress_is_understood() -> None:
    response = serving_message("PredictResponse")()
    response.outputs["y"].CopyFrom(to_proto(np.arange(1000, dtype=np.float32)))
    with (
        grpc_server(response.SerializeToString(), compression=grpc.Compression.Gzip) as target,
        Client(target, max_response_bytes=LIMIT) as client,
    ):
        assert client.predict("m", x=X)["y"].sum() == 499_500


@pytest.mark.parametrize("method", ["classify", "regress", "metadata", "status"])
def test_other_answers_over_grpc_are_bounded_too(method: str) -> None:
    arguments = ([{"x": [1.0]}],) if method in ("classify", "regress") else ()
    for answer, match in ((b"\xff" * 100, "cannot be read"), (b"\x0a\x00" * 1_000_000, "limit")):
        with grpc_server(answer) as target, Client(target, timeout=5, max_response_bytes=LIMIT) as client:
            with pytest.raises(ProtocolError, match=match) as caught:
                getattr(client, method)("m", *arguments)
            assert caught.value.fix


def test_many_classes_are_counted_before_they_become_objects() -> None:
    response = serving_message("ClassificationResponse")()
    example = response.result.classifications.add()
    for _ in range(50_000):
        example.classes.add()
    with (
        grpc_server(response.SerializeToString()) as target,
        Client(target, max_response_bytes=LIMIT) as client,
        pytest.raises(ProtocolError, match="50000 classes"),
    ):
        client.classify("m", [{"x": [1.0]}])


def test_metadata_over_grpc_that_is_damaged_inside_is_a_clear_error() -> None:
    response = serving_message("GetModelMetadataResponse")()
    entry = response.metadata["signature_def"]
    entry.type_url, entry.value = "type.googleapis.com/tensorflow.serving.SignatureDefMap", b"\xff\xff"
    with (
        grpc_server(response.SerializeToString()) as target,
        Client(target) as client,
        pytest.raises(ProtocolError, match="metadata cannot be read"),
    ):
        client.metadata("m")


def nested(depth: int) -> bytes:
    return b'{"outputs": ' + b"[" * depth + b"]" * depth + b"}"


HTTP_LIES = {
    "deeply nested JSON": (http(nested(400_000)), "limit|cannot be read"),
    "JSON nested beyond Python's stack": (http(nested(20_000)), "cannot be read"),
    "JSON nested beyond NumPy's dims": (http(nested(100)), "not a float32 tensor"),
    "JSON that is many times larger as objects": (http(b'{"outputs": [' + b"[]," * 100_000 + b"[]]}"), "decoded JSON"),
    "an emoji that makes all characters wide": (http(b'{"outputs": "' + b"a" * 1_500_000 + "😀".encode() + b'"}'), "decoded"),
    "not UTF-8": (http(b'{"outputs": ["\xff\xfe"]}'), "cannot be read"),
    "a lone surrogate": (http(b'{"outputs": ["\\ud800"]}'), "not a float32 tensor"),
    "ragged lists": (http(b'{"outputs": [[1], [2, 3]]}'), "not a float32 tensor"),
    "a number beyond all floats": (http(b'{"outputs": [' + b"9" * 1000 + b"]}"), "not a float32 tensor"),
    "a number of too many digits": (http(b'{"outputs": [' + b"9" * 5000 + b"]}"), "cannot be read"),
    "objects as numbers": (http(b'{"outputs": [{"b64": 5}]}'), "not a float32 tensor"),
    "other outputs": (http(b'{"outputs": {"z": [1], "q": [2]}}'), "exactly the outputs"),
    "an object without outputs": (http(b"{}"), "exactly the outputs"),
    "compressed content": (http(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip"), "cannot be read"),
    "an announced length beyond the limit": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{", "exceeds the limit"),
    "less content than announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n{", "does not answer in HTTP"),
    "a chunk without a length": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not answer in HTTP"),
    "a chunk that is cut": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nabc", "does not answer in HTTP"),
    "an endless status line": (b"HTTP/1.1 200 " + b"a" * 100_000, "does not answer in HTTP"),
    "too many headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "does not answer in HTTP"),
    "a web page": (http(b"<html></html>", "Content-Type: text/html"), "REST port"),
}  # fmt: skip


@pytest.mark.parametrize("lie", HTTP_LIES)
def test_a_lie_over_http_is_a_clear_error(lie: str) -> None:
    answer, match = HTTP_LIES[lie]
    with rest_server(answer) as target:
        error = refused(target, ".")
        assert any(part in str(error) for part in match.split("|")), error


@pytest.mark.parametrize(
    "metadata",
    [
        b"[]", b"{}", b"5", b'{"metadata": 5, "model_spec": 5}', b'{"metadata": {"signature_def": []}}', b"\xff", nested(5000),
        {**METADATA, "model_spec": {"name": [], "version": "x"}}, {**METADATA, "model_spec": None},
        {**METADATA, "metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": [1]}}}}},
        {**METADATA, "metadata": {"signature_def": {"signature_def": {"serving_default": {"outputs": {"y": {"dtype": {}}}}}}}},
        {**METADATA, "metadata": {"signature_def": {"signature_def": [["a", {}]]}}},
    ],
)  # fmt: skip
def test_metadata_over_http_of_another_form_is_a_clear_error(metadata: object) -> None:
    with rest_server(http(b'{"outputs": [1]}'), metadata) as target, Client(target, timeout=5) as client:
        for call in (lambda: client.predict("m", x=X), lambda: client.metadata("m")):
            with pytest.raises(ServingError) as caught:
                call()
            assert caught.value.fix or isinstance(caught.value, RequestError)


@pytest.mark.parametrize("answer", [b"[]", b"5", b'"x"', b'{"model_version_status": 5}'])
def test_a_status_over_http_of_another_form_is_a_clear_error(answer: bytes) -> None:
    with rest_server(http(answer)) as target, Client(target, timeout=5) as client, pytest.raises(ServingError):
        client.status("m")


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"results": 5}', b'{"results": [[5]]}', b'{"results": [{"a": 1}]}', b'{"results": null}']
)
@pytest.mark.parametrize("method", ["classify", "regress"])
def test_results_of_another_form_are_a_clear_error(answer: bytes, method: str) -> None:
    with rest_server(http(answer)) as target, Client(target, timeout=5) as client, pytest.raises(ProtocolError):
        getattr(client, method)("m", [{"x": [1.0]}])


def test_a_redirect_to_another_host_is_not_followed() -> None:
    followed = threading.Event()
    with (
        rest_server(lambda sock: followed.set()) as other,
        rest_server(http(b"", f"Location: {other}/v1/models/m:predict", status="307 Temporary")) as target,
    ):
        error = refused(target, "HTTP 307", RequestError)
    assert "redirects to" in str(error)
    assert not followed.is_set()


def test_a_huge_error_message_is_cut() -> None:
    body = json.dumps({"error": "a" * 1_000_000}).encode()
    with rest_server(http(body, status="400 Bad")) as target:
        error = refused(target, "1000000 characters", RequestError)
    assert len(str(error)) < 10_000


@pytest.mark.parametrize("error", [b'{"error": {"a": [1]}}', nested(20_000), b"\xff" * 1000, b"[1]", b"null"])
def test_an_error_of_another_form_is_still_a_request_error(error: bytes) -> None:
    with rest_server(http(error, status="500 Bad")) as target:
        with Client(target, timeout=5) as client, pytest.raises(RequestError, match="HTTP 500") as caught:
            client.predict("m", x=X)
        assert caught.value.http_status == 500


def endless(head: bytes, piece: bytes, pause: float) -> Send:
    def send(sock: socket.socket) -> None:
        sock.sendall(head)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            sock.sendall(piece)
            time.sleep(pause)

    return send


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_an_endless_body_ends_at_the_limit() -> None:
    with rest_server(endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n", 0)) as target:
        refused(target, "exceeds the limit")
    with rest_server(endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536, 0)) as target:
        refused(target, "exceeds the limit")


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (CHUNKED, b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 ", b"O"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"0\r\n", b"A: b\r\n"),
    ],
    ids=["chunks", "body", "headers", "status line", "continue", "trailers"],
)
def test_a_dripping_answer_ends_at_the_time_out(head: bytes, piece: bytes) -> None:
    with rest_server(endless(head, piece, 0.2)) as target:
        refused(target, "No answer within 0.7 s", ServingError, timeout=0.7)


def test_a_connection_is_usable_after_each_kind_of_error() -> None:
    answers = iter([HTTP_LIES["an announced length beyond the limit"][0], CHUNKED + b"zz\r\n", http(b'{"outputs": [1.5]}')])
    with (
        rest_server(lambda sock: sock.sendall(next(answers))) as target,
        Client(target, timeout=5, max_response_bytes=LIMIT) as client,
    ):
        for _ in range(2):
            with pytest.raises(ProtocolError):
                client.predict("m", x=X)
        assert client.predict("m", x=X)["y"].tolist() == [1.5]
