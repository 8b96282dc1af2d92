"""Bad requests and bad clients get the right status and message, and the server keeps answering."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import grpc
import numpy as np
import psutil
import pytest

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tensors import to_proto
from serving.server import Server
from serving.server.models.states import wait_until
from tests.serving.server.recordings import MODELS

PREDICT = f"/{PREDICTION_SERVICE}/Predict"
SECONDS = 120.0
REST_LIMIT = 3.0
SINGLE = b'{"signature_name": "single", "instances": [[1, 2, 3, 4]]}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(MODELS / "rows", rest_timeout_seconds=REST_LIMIT) as running:
        yield running


@pytest.fixture
def patient() -> Iterator[Server]:
    """A server with limits for requests of 100 MB; their values take longer as JSON than the time limit of the other tests."""
    limits = {"max_request_bytes": 128 * 2**20, "max_decoded_bytes": 2**31}
    with Server(MODELS / "rows", rest_timeout_seconds=SECONDS, **limits) as running:
        yield running


@pytest.fixture(autouse=True)
def still_answers(server: Server) -> Iterator[None]:
    """After every test, both interfaces still answer correctly."""
    yield
    assert rest(server, SINGLE) == (200, {"predictions": [[2.0, 4.0, 6.0, 8.0]]})
    assert code_of(server, request_for(np.ones((1, 4), np.float32))) == ("OK", "")


def rest(
    server: Server, body: bytes, path: str = "/v1/models/rows:predict", headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, object]:
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=SECONDS)
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def request_for(array: np.ndarray, alias: str = "x", signature: str = "single") -> bytes:
    request = serving_message("PredictRequest")(model_spec={"name": "rows", "signature_name": signature})
    request.inputs[alias].CopyFrom(to_proto(array))
    data: bytes = request.SerializeToString()
    return data


def code_of(server: Server, data: bytes, method: str = PREDICT) -> tuple[str, str]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as channel:
        try:
            channel.unary_unary(method)(data, timeout=SECONDS)
        except grpc.RpcError as exc:
            return exc.code().name, exc.details() or ""
    return "OK", ""


def raw(server: Server) -> socket.socket:
    assert server.rest_port is not None
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=SECONDS)


@pytest.mark.parametrize("data", [b"\xff" * 16, b"\x0a\x7f", b"\x00"], ids=["no tag", "cut off", "field 0"])
@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"])
def test_malformed_proto_is_internal(server: Server, method: str, data: bytes) -> None:
    assert code_of(server, data, f"/{PREDICTION_SERVICE}/{method}")[0] == "INTERNAL"


def test_unknown_method_is_unimplemented(server: Server) -> None:
    assert code_of(server, b"", f"/{PREDICTION_SERVICE}/Nope")[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"instances": [[1, 2}', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"\x00" * 100, b"nul"],
    ids=["empty", "open", "crossed", "deep list", "deep object", "not UTF-8", "zeros", "bare word"],
)
def test_malformed_json_is_400(server: Server, body: bytes) -> None:
    status, answer = rest(server, body)
    assert status == 400
    assert isinstance(answer, dict)
    assert answer["error"]


def test_wrong_dtype_is_named(server: Server) -> None:
    code, message = code_of(server, request_for(np.ones((1, 4), np.int64)))
    assert (code, message) == ("INVALID_ARGUMENT", "Expects arg[0] to be float but int64 is provided")


def test_wrong_input_name_is_named(server: Server) -> None:
    code, message = code_of(server, request_for(np.ones((1, 4), np.float32), "z"))
    assert code == "INVALID_ARGUMENT"
    assert "'x'" in message or "x" in message


def test_ragged_json_is_400(server: Server) -> None:
    status, answer = rest(server, b'{"signature_name": "single", "instances": [[1, 2], [3]]}')
    assert status == 400
    assert "Expecting tensor size: 2 but got: 1" in str(answer)


@pytest.mark.parametrize("shape", [(), (4,)], ids=str)
def test_wrong_rank_fails_in_the_operator(server: Server, shape: tuple[int, ...]) -> None:
    """Signature shapes are not enforced; an operator fails, as in the real server (recording g_wrong_rank)."""
    code, message = code_of(server, request_for(np.ones(shape, np.float32), signature="serving_default"))
    assert code == "INVALID_ARGUMENT"
    assert f"Invalid reduction dimension (1 for input with {len(shape)} dimension(s)" in message


def test_wrong_rank_that_every_operator_accepts_is_answered(server: Server) -> None:
    assert code_of(server, request_for(np.ones((1, 1, 4), np.float32))) == ("OK", "")


def test_tensor_shape_larger_than_memory_is_refused(server: Server) -> None:
    request = serving_message("PredictRequest")(model_spec={"name": "rows", "signature_name": "single"})
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (2**31, 2**31, 2**31):
        tensor.tensor_shape.dim.add(size=size)
    assert code_of(server, request.SerializeToString()) == ("INVALID_ARGUMENT", "tensor parsing error: x")


@pytest.mark.sample(2)
@pytest.mark.parametrize(("mebibytes", "limits"), [(32, "default"), (100, "larger")])
def test_large_message_is_answered_over_grpc(server: Server, patient: Server, mebibytes: int, limits: str) -> None:
    target = server if limits == "default" else patient
    assert code_of(target, request_for(np.ones((mebibytes * 2**20 // 16, 4), np.float32))) == ("OK", "")


def test_message_above_the_default_limit_is_refused_over_grpc(server: Server) -> None:
    code, details = code_of(server, request_for(np.ones((34 * 2**20 // 16, 4), np.float32)))
    assert code == "RESOURCE_EXHAUSTED"
    assert details == f"SERVER: Received message larger than max (35651633 vs. {33 * 2**20})"


@pytest.mark.slow
def test_100_mb_body_is_answered_over_rest(patient: Server) -> None:
    row = b"[1.00000000, 2.00000000, 3.00000000, 4.00000000],"
    count = 100 * 2**20 // len(row)
    status, answer = rest(patient, b'{"signature_name": "single", "instances": [' + (row * count)[:-1] + b"]}")
    assert status == 200
    assert isinstance(answer, dict)
    assert len(answer["predictions"]) == count
    assert answer["predictions"][-1] == [2.0, 4.0, 6.0, 8.0]


def test_gzip_bomb_counts_as_an_empty_body(server: Server) -> None:
    """As in the real server, a body of more than 100 MiB when unpacked counts as empty; little of it is unpacked."""
    packing = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packing.compress(b" " * 2**20) for _ in range(1024)) + packing.flush()
    before = psutil.Process().memory_info().rss
    status, answer = rest(server, bomb, headers={"Content-Encoding": "gzip"})
    assert (status, answer) == rest(server, b"")
    assert psutil.Process().memory_info().rss - before < 300 * 2**20


@pytest.mark.parametrize("fill", [b"x", b" "], ids=["text", "blanks"])
def test_invalid_32_mb_body_is_refused_over_rest(server: Server, fill: bytes) -> None:
    status, answer = rest(server, fill * (32 * 2**20))
    assert status in (400, 504)
    assert isinstance(answer, dict)
    assert answer["error"]


@pytest.mark.slow
def test_slow_head_is_cut_off(server: Server) -> None:
    with raw(server) as slow:
        slow.sendall(b"POST /v1/models/rows:predict HTTP/1.1\r\nHost: localhost\r\n")
        assert slow.recv(1) == b""


@pytest.mark.slow
def test_silent_connection_is_cut_off(server: Server) -> None:
    with raw(server) as silent:
        assert silent.recv(1) == b""


def test_slow_body_is_answered_with_the_time_limit(server: Server) -> None:
    with raw(server) as slow:
        slow.sendall(b"POST /v1/models/rows:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 504 ")


def test_many_slow_connections_do_not_block_others(server: Server) -> None:
    opened = [raw(server) for _ in range(200)]
    try:
        for connection in opened:
            connection.sendall(b"POST /v1/models/rows:predict HTTP/1.1\r\n")
        assert rest(server, SINGLE)[0] == 200
    finally:
        for connection in opened:
            connection.close()


def test_idle_connection_between_requests_is_kept(server: Server) -> None:
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=SECONDS)
    connection.request("POST", "/v1/models/rows:predict", SINGLE)
    connection.getresponse().read()
    time.sleep(REST_LIMIT + 1)
    connection.request("POST", "/v1/models/rows:predict", SINGLE)
    assert connection.getresponse().status == 200
    connection.close()


def test_clients_that_vanish_over_rest_do_no_harm(server: Server) -> None:
    for _ in range(50):
        with raw(server) as gone:
            head = b"POST /v1/models/rows:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(SINGLE)
            gone.sendall(head + SINGLE)
    assert rest(server, SINGLE)[0] == 200


def test_cancelled_grpc_requests_free_their_threads(spinning: Server) -> None:
    """Cancelled requests that still wait for a thread never run."""
    request = serving_message("PredictRequest")(model_spec={"name": spinning.options.model_name})
    request.inputs["turns"].CopyFrom(to_proto(np.int32(2000)))
    with grpc.insecure_channel(f"127.0.0.1:{spinning.grpc_port}") as channel:
        waiting = [channel.unary_unary(PREDICT).future(request.SerializeToString()) for _ in range(20)]
        time.sleep(0.5)
        for call in waiting:
            call.cancel()
    request.inputs["turns"].CopyFrom(to_proto(np.int32(0)))
    with grpc.insecure_channel(f"127.0.0.1:{spinning.grpc_port}") as channel:
        assert channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=SECONDS)


def test_deadline_is_kept(spinning: Server) -> None:
    request = serving_message("PredictRequest")(model_spec={"name": spinning.options.model_name})
    request.inputs["turns"].CopyFrom(to_proto(np.int32(20000)))
    with grpc.insecure_channel(f"127.0.0.1:{spinning.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as late:
            channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def spinning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from tests.serving.server.slow_model import save_spinner

    base = tmp_path_factory.mktemp("spinner")
    save_spinner(base / "1", 1.0)
    with Server(base, grpc_threads=2) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "rows%2F1%2Fsaved_model.pb", "..", "rows%00"],
)
def test_model_names_are_never_used_as_paths(server: Server, path: str, tmp_path: Path) -> None:
    """A name in a request is only looked up among the configured models."""
    status, answer = rest(server, SINGLE, f"/v1/models/{path}:predict")
    assert status == 404
    assert "Servable not found for request" in str(answer)


@pytest.mark.slow
def test_concurrent_faults_do_not_disturb_correct_answers(server: Server) -> None:
    answers: list[object] = []
    ended = threading.Event()

    def bad() -> None:
        while not ended.is_set():
            rest(server, b'{"signature_name": "single", "instances": [[1, 2], [3]]}')
            code_of(server, b"\xff" * 16)

    workers = [threading.Thread(target=bad) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(50):
            answers.append(rest(server, SINGLE))
    finally:
        ended.set()
        for worker in workers:
            worker.join()
    assert answers == [(200, {"predictions": [[2.0, 4.0, 6.0, 8.0]]})] * 50
    assert wait_until(lambda: server.core.board.is_available("rows", 2), seconds=1)
