"""The client over gRPC and REST against a server in another process."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest

from serving import (
    Client,
    ConnectionFailedError,
    ConnectionSettings,
    DeadlineError,
    NotReadyError,
    ProtocolError,
    RequestError,
    RetryPolicy,
    TargetError,
    TensorError,
    TensorInfo,
    VersionStatus,
)
from serving.client.rest_protocol import NOT_IN_JSON
from serving.launch.server_process import ServerEndpoints
from tests.serving.clients import each_client
from tests.serving.processes import free_port, threads
from tests.serving.servers import small_server
from tests.serving.small_server import DTYPES

X = np.array([[1, 2, 3], [-0.1, 1e-7, 3e7]], np.float32)
KINDS = ["grpc", "column", "row"]


client_class = each_client(__name__)


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


def open_client(endpoints: ServerEndpoints, kind: str, **options: float) -> Client:
    if kind == "grpc":
        return Client(endpoints.grpc_target, **options)
    return Client(endpoints.rest_target, rest_format="row" if kind == "row" else "column", **options)


@pytest.fixture(params=KINDS)
def client(endpoints: ServerEndpoints, request: pytest.FixtureRequest) -> Iterator[Client]:
    with open_client(endpoints, request.param) as client:
        yield client


def test_predict_returns_every_output_by_name(client: Client) -> None:
    got = client.predict("affine", x=X)
    assert set(got) == {"y", "total"}
    want = X * np.float32(3) + np.float32(1)
    for name, expected in (("y", want), ("total", want.sum(axis=-1, dtype=np.float32))):
        assert got[name].dtype == np.float32
        assert got[name].shape == expected.shape
        np.testing.assert_array_equal(got[name], expected)


def test_a_version_or_a_label_chooses_the_model_version(client: Client) -> None:
    first = client.predict("affine", x=X, version=1)["y"]
    np.testing.assert_array_equal(first, X * np.float32(2) + np.float32(1))
    np.testing.assert_array_equal(client.predict("affine", x=X, label="stable")["y"], first)
    assert not np.array_equal(client.predict("affine", x=X, version=2)["y"], first)
    with pytest.raises(TargetError, match="Both version 1 and label 'stable'"):
        client.predict("affine", x=X, version=1, label="stable")


def test_lists_get_the_dtype_of_the_signature(client: Client) -> None:
    np.testing.assert_array_equal(client.predict("affine", x=[[1, 2, 3]], version=1)["y"], [[3, 5, 7]])
    with pytest.raises(TensorError, match="'x' is not a float32 tensor"):
        client.predict("affine", x=[[1, 2], [3]])


def test_inputs_as_a_mapping_may_have_any_name(client: Client) -> None:
    np.testing.assert_array_equal(client.predict("affine", {"x": X})["y"], client.predict("affine", x=X)["y"])
    with pytest.raises(RequestError, match="input size does not match signature: 2!=1"):
        client.predict("affine", {"x": X, "version": X})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_survives_the_round_trip(endpoints: ServerEndpoints, kind: str, dtype: str) -> None:
    array = _example(dtype)
    with open_client(endpoints, kind) as client:
        if kind != "grpc" and dtype in NOT_IN_JSON:
            with pytest.raises(TensorError, match=f"is {dtype}, which REST cannot carry"):
                client.predict("echo", x=array, signature=f"echo_{dtype}")
            return
        got = client.predict("echo", x=array, signature=f"echo_{dtype}")["y"]
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    if dtype == "bfloat16":  # NumPy's own NaN comparison does not know it
        got, array = got.astype(np.float32), array.astype(np.float32)
    np.testing.assert_array_equal(got, array)


def _example(dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.array([[b"a", "ä".encode()], [b"", b"\xff\x00"]], np.object_)
    if dtype == "bool":
        return np.array([[True, False], [False, True]])
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return np.array([[limits.min, limits.max], [0, 1]], kind)
    return np.array([[np.nan, np.inf], [-np.inf, 0.1]], np.float64).astype(kind)


def test_an_empty_batch_keeps_its_dims(endpoints: ServerEndpoints) -> None:
    for kind in ("grpc", "column"):
        with open_client(endpoints, kind) as client:
            got = client.predict("echo", x=np.zeros((0, 2), np.int8), signature="echo_int8")["y"]
            assert (got.shape, got.dtype) == ((0, 2), np.int8)


def test_the_row_format_needs_equal_batch_sizes(endpoints: ServerEndpoints) -> None:
    with open_client(endpoints, "row") as client, pytest.raises(TensorError, match="inputs of the same first dim"):
        client.predict("affine", {"x": X, "z": X[:1]})


def test_metadata_lists_the_signatures(client: Client) -> None:
    info = client.metadata("affine")
    assert (info.name, info.version) == ("affine", 2)
    assert set(info.signatures) == {"serving_default"}
    signature = info.signatures["serving_default"]
    assert signature.inputs == {"x": TensorInfo("float32", (None, 3))}
    assert signature.outputs == {
        "y": TensorInfo("float32", (None, 3)),
        "total": TensorInfo("float32", (None,)),
    }
    assert str(signature.inputs["x"]) == "float32[?,3]"
    assert client.metadata("affine", label="stable").version == 1
    assert {s.inputs["x"].dtype for s in client.metadata("echo").signatures.values()} == set(DTYPES)


def test_status_lists_the_versions(client: Client) -> None:
    assert client.status("affine") == [VersionStatus(1, "AVAILABLE"), VersionStatus(2, "AVAILABLE")]
    assert client.status("affine", version=1) == [VersionStatus(1, "AVAILABLE")]
    broken = client.status("broken")[0]
    assert broken.failed
    assert "saved_model.pb is damaged" in str(broken)


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", ["grpc", "column"])
def test_it_waits_for_a_model_that_is_loading(kind: str) -> None:
    with small_server() as endpoints, open_client(endpoints, kind) as client:
        assert client.status("late")[0].state == "LOADING"
        assert client.wait_until_ready("late", timeout=10) == VersionStatus(1, "AVAILABLE")


def test_waiting_ends_at_once_for_a_failed_load(client: Client) -> None:
    start = time.monotonic()
    with pytest.raises(NotReadyError, match=r"could not be loaded: .*saved_model\.pb is damaged"):
        client.wait_until_ready("broken", timeout=30)
    assert time.monotonic() - start < 5


def test_a_timeout_reports_the_last_known_state(client: Client) -> None:
    with pytest.raises(
        NotReadyError, match=r"affine version 9 was not ready within 0\.3 s: .*version 9 of model affine"
    ):
        client.wait_until_ready("affine", 9, timeout=0.3)


def test_it_waits_for_a_server_that_is_starting() -> None:
    port = free_port()
    with Client(f"http://127.0.0.1:{port}") as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait_until_ready, "affine", timeout=30)
        time.sleep(0.3)
        assert not waiting.done()
        with small_server("--rest-port", str(port)):
            assert waiting.result().version == 2


@pytest.mark.parametrize(
    ("call", "status", "text", "fix"),
    [
        (lambda c: c.predict("nope", x=X), "NOT_FOUND", "Latest", "client.status('nope')"),
        (
            lambda c: c.predict("affine", x=X, version=9),
            "NOT_FOUND",
            r"Specific\(affine, 9\)",
            "client.status",
        ),
        (
            lambda c: c.predict("affine", x=X, label="x"),
            "INVALID_ARGUMENT",
            "version label: x",
            "tfbundle promote",
        ),
        (
            lambda c: c.predict("affine", x=X, signature="s"),
            None,
            'signature key "s"',
            "client.metadata('affine')",
        ),
        (lambda c: c.predict("affine", z=X[0]), "INVALID_ARGUMENT", "input size", "client.metadata"),
        (lambda c: c.predict("busy", x=X), "UNAVAILABLE", "queue .* is full", "try again"),
        (lambda c: c.status("nope"), "NOT_FOUND", "any versions of model nope", "client.status"),
    ],
)
@pytest.mark.parametrize("kind", ["grpc", "column"])
def test_a_refusal_has_status_message_and_advice(endpoints: ServerEndpoints, kind: str, call, status, text, fix) -> None:
    # type: ignore[no-untyped-def]
    with open_client(endpoints, kind) as client, pytest.raises(RequestError, match=text) as caught:
        call(client)
    if status:
        assert caught.value.status == status
    assert (caught.value.http_status is None) == (kind == "grpc")
    assert fix in str(caught.value)
    assert str(client.target) in str(caught.value)


def test_a_late_answer_is_a_deadline_error(client: Client) -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineError, match=r"No answer within 0\.2 s"):
        client.predict("slow", x=X, timeout=0.2)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_missing_server_is_a_connection_error(scheme: str) -> None:
    with Client(f"{scheme}://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ConnectionFailedError, match=r"Cannot connect to 127\.0\.0\.1") as caught:
            client.predict("affine", x=X, timeout=5)
        assert "check that the server is running" in str(caught.value)


def test_a_port_of_the_other_protocol_is_recognized(endpoints: ServerEndpoints) -> None:
    with (
        Client(f"127.0.0.1:{endpoints.rest_port}") as client,
        pytest.raises(ConnectionFailedError, match="does not speak gRPC"),
    ):
        client.predict("affine", x=X, timeout=5)
    with Client(f"http://127.0.0.1:{endpoints.grpc_port}") as client, pytest.raises(ProtocolError, match="gRPC port"):
        client.predict("affine", x=X, timeout=5)


@pytest.mark.parametrize("reset", [False, True])
def test_a_request_whose_connection_is_lost_is_only_sent_again_if_the_user_says_so(reset: bool) -> None:
    body = b'{"outputs": [1.5]}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with _answers([[], [answer]], reset) as target, Client(target, timeout=5) as client:
        with pytest.raises(ConnectionFailedError, match="lost before the answer") as caught:
            client.prepare("m", {"x": X})()
        assert caught.value.code == "TFB7020" and not caught.value.is_unexecuted
        assert client.prepare("m", {"x": X})() == body
    again = ConnectionSettings(retry=RetryPolicy(lost=True, first_pause=0.01))
    with _answers([[], [answer]], reset) as target, Client(target, timeout=5, connection=again) as client:
        assert client.prepare("m", {"x": X})() == body


def test_a_kept_connection_that_the_server_has_closed_is_not_used() -> None:
    body = b'{"outputs": [1.5]}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    closed = threading.Event()

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                data = b""
                while b"inputs" not in data:
                    data += connection.recv(65536)
                connection.sendall(answer)
            closed.set()

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        threads(serve),
        Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5) as client,
    ):
        call = client.prepare("m", {"x": X})
        assert call() == body
        assert closed.wait(5)
        assert call() == body


def test_a_state_is_requested_again_when_its_connection_is_lost() -> None:
    body = b'{"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK"}}]}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with _answers([[], [], [answer]], reset=True) as target, Client(target, timeout=5) as client:
        assert [state.version for state in client.status("m")] == [3]


def test_an_answer_that_is_not_json_is_a_protocol_error() -> None:
    page = _answers([[b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<ok>"]])
    with page as target, Client(target) as client, pytest.raises(ProtocolError, match="cannot be read"):
        client.status("m")
    page = _answers([[b"HTTP/1.1 502 Bad\r\nContent-Length: 12\r\n\r\n<h1>bad</h1>"]])
    with (
        page as target,
        Client(target) as client,
        pytest.raises(RequestError, match="HTTP 502: <h1>") as caught,
    ):
        client.status("m")
    assert caught.value.status == "UNAVAILABLE"


@contextmanager
def _answers(connections: list[list[bytes]], reset: bool = False) -> Iterator[str]:
    """Run a server that answers the requests of its first connection with fixed bytes, then those of the next; yield its URL.

    A connection is closed, or reset, in answer to the request for which it has no bytes left.
    """

    def serve() -> None:
        for answers in connections:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(65536)
                    connection.sendall(answer)
                connection.recv(65536)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener, threads(serve):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["grpc", "column"])
def test_threads_can_share_a_client(endpoints: ServerEndpoints, kind: str) -> None:
    failures = []

    def work(number: int) -> None:
        x = np.full((2, 3), number, np.float32)
        for _ in range(20):
            if not np.array_equal(client.predict("affine", x=x, version=1)["y"], x * 2 + 1):
                failures.append(number)

    with open_client(endpoints, kind) as client:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_the_client_imports_neither_tensorflow_nor_torch() -> None:
    code = (
        "import sys, serving; light = set(sys.modules); from serving import Client; Client('h:1').close();"
        "Client('http://h:1').close();"
        "assert not {'grpc', 'numpy', 'google.protobuf'} & light, light;"
        "assert not {'tensorflow', 'torch', 'bundler', 'ml_dtypes'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
