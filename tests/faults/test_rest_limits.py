"""Requests over REST that would cost the server too much: each has a limit, and other requests do not notice."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from serving.server import Server
from serving.server.models.states import wait_until
from tests.faults.light_client import LightClient, MemoryPeak
from tests.faults.victim import Victim, save_model, victim

SECONDS = 60.0
MIB = 2**20
SINGLE = b'{"signature_name": "single", "instances": [[1, 2, 3, 4]]}'
ANSWER = {"predictions": [[1.0, 2.0, 3.0, 4.0]]}
PATH = "/v1/models/m:predict"
FILL = b'{"signature_name": "fill", "inputs": %d}'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "m" / "1")
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    """A server with small limits."""
    with Server(
        models / "m", max_request_bytes=4 * MIB, max_decoded_bytes=64 * MIB, max_tensor_elements=10_000, max_nesting=10,
        rest_timeout_seconds=SECONDS, write_timeout_seconds=2.0,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(autouse=True)
def still_answers(server: Server) -> Iterator[None]:
    yield
    assert post(server, SINGLE) == (200, ANSWER)


def post(server: Server, body: bytes | Iterable[bytes], **headers: str) -> tuple[int, object]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=SECONDS)
    try:
        connection.request("POST", PATH, body, names)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def error_of(answer: tuple[int, object]) -> tuple[int, str]:
    assert isinstance(answer[1], dict)
    return answer[0], answer[1]["error"]


def raw(server: Server) -> socket.socket:
    assert server.rest_port is not None
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=SECONDS)


def rows(count: int) -> bytes:
    return b'{"signature_name": "single", "instances": [' + b"[1.5, 2.5, 3.5, 4.5]," * (count - 1) + b"[1.5, 2.5, 3.5, 4.5]]}"


def test_announced_body_over_the_limit_is_refused_before_it_is_sent(server: Server) -> None:
    with raw(server) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000000\r\n\r\n" % PATH.encode())
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body) == {"error": f"The body has 2000000000 bytes; --max_request_bytes allows {4 * MIB}."}


def test_chunked_body_over_the_limit_is_refused_where_it_exceeds_it(server: Server) -> None:
    with raw(server) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH.encode())
        connection.sendall((b"100000\r\n" + b" " * MIB + b"\r\n") * 5)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_chunked_body_within_the_limit_is_answered(server: Server) -> None:
    assert post(server, iter([SINGLE[:10], SINGLE[10:]])) == (200, ANSWER)
    status, _ = post(server, iter([rows(2000)[:9000], b" " * MIB, rows(2000)[9000:]]))
    assert status == 200


def test_gzip_over_the_limit_is_refused_without_unpacking(server: Server) -> None:
    status, error = error_of(post(server, gzip.compress(b" " * 65 * MIB), Content_Encoding="gzip"))
    assert (status, error) == (413, f"The body has {65 * MIB} bytes when unpacked; --max_decoded_bytes allows {64 * MIB}.")


def test_body_that_needs_too_much_memory_is_refused(server: Server) -> None:
    """4 MB of empty lists need 100 MB as objects."""
    status, error = error_of(post(server, b'{"inputs": [' + b"[]," * (MIB + MIB // 4) + b"1]}"))
    assert status == 413
    assert "--max_decoded_bytes" in error


@pytest.mark.parametrize("count", [2501, 20_000], ids=["small body", "large body"])
def test_tensor_with_too_many_elements_is_refused(server: Server, count: int) -> None:
    expected = f"Tensor x has {4 * count} elements; --max_tensor_elements allows 10000."
    assert error_of(post(server, rows(count))) == (400, expected)


@pytest.mark.parametrize("padding", [0, MIB], ids=["small body", "large body"])
def test_deep_body_is_refused(server: Server, padding: int) -> None:
    body = b'{"instances": ' + b" " * padding + b"[" * 10 + b"1" + b"]" * 10 + b"}"
    status, error = error_of(post(server, body))
    assert status == 400
    assert f"more than 10 arrays and objects inside each other at offset: {23 + padding}; --max_nesting" in error


def test_large_body_has_the_answer_of_a_small_one(server: Server) -> None:
    assert post(server, SINGLE + b" " * MIB) == (200, ANSWER)
    assert post(server, gzip.compress(SINGLE + b" " * MIB), Content_Encoding="gzip") == (200, ANSWER)


@pytest.mark.parametrize(
    "body",
    [b'{"x": 1}', b'{"instances": [1, "a"]}', b'{"signature_name": "no", "instances": [1]}', b'{"instances": [1', b"[1]"],
    ids=str,
)
def test_large_body_has_the_error_of_a_small_one(server: Server, body: bytes) -> None:
    padded = body[:-1] + b" " * MIB + body[-1:] if body[-1:] in b"]}" else b" " * MIB + body
    (status, small), (large_status, large) = error_of(post(server, body)), error_of(post(server, padded))
    assert large_status == status == 400
    assert large.partition("at offset")[0] == small.partition("at offset")[0]


def test_large_answer_has_the_form_of_a_small_one(server: Server) -> None:
    status, answer = post(server, FILL % 100_000)
    assert isinstance(answer, dict)
    assert (status, set(answer["outputs"]), len(answer["outputs"])) == (200, {0.1}, 100_000)


def test_error_does_not_echo_the_body(server: Server) -> None:
    status, error = error_of(post(server, b'{"instances": [{"b64": "' + b"A" * MIB + b'"}]}'))
    assert status == 400
    assert len(error) < 5000
    assert "is not of expected type: float" in error or error.endswith("…")


def test_error_does_not_echo_the_path(server: Server) -> None:
    with raw(server) as connection:
        connection.sendall(b"POST /v1/" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert len(connection.recv(65536)) < 5000


def test_client_that_does_not_read_its_answer_is_cut_off(server: Server) -> None:
    body = FILL % 1_000_000
    request = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body)) + body
    with ExitStack() as opened:
        connection = opened.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.rest_port))
        connection.sendall(request)
        port = connection.getsockname()[1]
        assert wait_until(lambda: is_held(port), seconds=5)
        assert wait_until(lambda: not is_held(port), seconds=SECONDS)


def test_slow_client_that_reads_gets_its_answer(server: Server) -> None:
    """The time limit is for each part of an answer, not for all of it."""
    body = FILL % 500_000
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        connection.connect(("127.0.0.1", server.rest_port))
        connection.sendall(
            b"POST %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body)) + body
        )
        connection.settimeout(SECONDS)
        received = bytearray()
        while part := connection.recv(2**18):
            received += part
            time.sleep(0.02)
    assert len(json.loads(received.partition(b"\r\n\r\n")[2])["outputs"]) == 500_000


def is_held(port: int) -> bool:
    """Return whether the server, which runs in this process, has a connection to this port."""
    return any(each.raddr and each.raddr.port == port for each in psutil.Process().net_connections("tcp"))


def codecs() -> set[psutil.Process]:
    """Return the processes that read JSON for servers in this process."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it may just end
            if "codec_child" in " ".join(child.cmdline()):
                found.add(child)
    return found


def are_busy(processes: set[psutil.Process]) -> bool:
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    time.sleep(0.3)
    return sum(sum(process.cpu_times()[:2]) for process in processes) > before


@pytest.mark.sample(2)
@pytest.mark.parametrize("leaves", [True, False], ids=["client leaves", "time limit"])
def test_work_ends_with_its_request(models: Path, leaves: bool) -> None:
    body = b'{"inputs": [' + b"1.25," * 10_000_000 + b"1]}"
    request = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body))
    others = codecs()
    seconds = SECONDS if leaves else 1.0
    with Server(models / "m", rest_timeout_seconds=seconds, max_request_bytes=64 * MIB) as running:
        with raw(running) as connection:
            connection.sendall(request + body)
            if leaves:
                assert wait_until(lambda: are_busy(codecs() - others), seconds=20)
            else:
                assert connection.recv(65536).startswith(b"HTTP/1.1 504 ")
        assert wait_until(lambda: codecs() == others, seconds=5)


@pytest.mark.parametrize("header", ["Host", "Origin"])
def test_request_of_a_foreign_page_is_refused(server: Server, header: str) -> None:
    value = "attacker.example" if header == "Host" else "http://attacker.example"
    status, error = error_of(post(server, SINGLE, **{header: value}))
    assert status == 403
    assert "attacker.example" in error


def test_page_of_the_server_itself_is_answered(server: Server) -> None:
    own = f"127.0.0.1:{server.rest_port}"
    assert post(server, SINGLE, Host=own, Origin=f"http://{own}") == (200, ANSWER)


@pytest.mark.parametrize("path", ["/", "/v1/models/m", "/v1/models/m/metadata"])
def test_rebound_name_reads_nothing(server: Server, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port or 0, timeout=SECONDS)
    for host, status in (("attacker.example", 403), ("localhost", 200)):
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        assert response.status == status
        response.read()
        connection.close()


def test_old_client_without_a_host_is_answered(server: Server) -> None:
    with raw(server) as connection:
        connection.sendall(b"GET /v1/models/m HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in connection.recv(65536)


@pytest.fixture(scope="module")
def attacked(models: Path) -> Iterator[Victim]:
    """A server in another process with its default limits, but shorter time limits."""
    with victim("--rest_api_timeout_in_ms=2000", "--write_timeout_in_ms=2000", models=models) as running:
        yield running


ATTACKS = {
    "numbers": (b'{"inputs": [' + b"1.25," * (12 * MIB) + b"1]}", {}),
    "empty lists": (b'{"inputs": [' + b"[]," * (12 * MIB) + b"1]}", {}),
    "gzip of openings": (gzip.compress(b"[" * 90 * MIB), {"Content-Encoding": "gzip"}),
    "openings": (b'{"a":' * (2 * MIB), {}),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", list(reversed(ATTACKS)))
def test_light_client_does_not_notice(attacked: Victim, name: str) -> None:
    """Four times the body at once: the memory stays within limits and is given back."""
    body, headers = ATTACKS[name]
    connections: list[http.client.HTTPConnection] = []
    with LightClient(attacked.server) as light, MemoryPeak(attacked.server.pid) as memory:
        with ExitStack() as opened:
            for _ in range(4):
                connection = http.client.HTTPConnection("127.0.0.1", attacked.server.rest_port, timeout=SECONDS)
                opened.callback(connection.close)
                connection.request("POST", PATH, body, headers)
                connections.append(connection)
            assert {connection.getresponse().status // 100 for connection in connections} <= {4, 5}
        time.sleep(1.5)
    assert not light.result.losses, light.result
    assert light.result.p99 < 1, light.result
    assert memory.rise_mb < 1024
    assert memory.after_mb - memory.idle_mb < 100
