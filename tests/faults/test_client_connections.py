"""Servers, balancers and tokens that fail under a client: one clear message, or a repetition that succeeds."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from serving import Channels, Client, ConnectionFailedError, ConnectionSettings, RetryPolicy, Tls
from serving.launch.server_process import ServerEndpoints, server_process
from tests.serving.certificates import Authority, ssl_config
from tests.serving.processes import free_port
from tests.serving.restarts import Restarted, soon
from tests.serving.server.recordings import MODELS
from tests.serving.servers import small_server

X = np.ones((1, 3), np.float32)
KINDS = pytest.mark.parametrize("kind", ["grpc", pytest.param("rest", marks=pytest.mark.slow)])
PATIENT = ConnectionSettings(retry=RetryPolicy(attempts=100, first_pause=0.1, longest_pause=0.3, lost=True))


@KINDS
def test_a_server_that_restarts_is_found_again(kind: str) -> None:
    with Restarted(kind) as server, Client(server.target, timeout=60, connection=PATIENT) as client:
        client.wait_until_ready("affine", timeout=60)
        server.kill()
        with soon(server.start):
            np.testing.assert_array_equal(client.predict("affine", x=X, version=1)["y"], X * 2 + 1)


@KINDS
def test_an_inference_whose_server_is_killed_ends_with_one_clear_message(kind: str) -> None:
    with Restarted(kind) as server, Client(server.target, timeout=30) as client:
        client.wait_until_ready("slow", timeout=60)
        with soon(server.kill), pytest.raises(ConnectionFailedError, match="was lost before the answer") as caught:
            client.predict("slow", x=X, version=1)
        assert caught.value.code == "TFB7020"


class Balancer:
    """Forwards each connection to the next of several ports, and counts what each server sends.

    Args:
        ports: the servers' ports; for a port on which nobody listens, the connection is closed after `farewell`.
        farewell: what a client gets whose server is dead.
    """

    def __init__(self, *ports: int, farewell: bytes = b"") -> None:
        self._turns = cycle(ports)
        self._farewell = farewell
        self.received: Counter[int] = Counter()
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Balancer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        workers = []
        with ExitStack() as stack:
            while True:
                try:
                    client, _ = self._listener.accept()
                except OSError:
                    break
                stack.callback(client.close)
                self.connections += 1
                port = next(self._turns)
                try:
                    server = socket.create_connection(("127.0.0.1", port))
                except OSError:
                    if self._farewell:
                        client.recv(1 << 16)
                        client.sendall(self._farewell)
                    client.close()
                    continue
                stack.callback(server.close)
                for source, sink, counted in ((client, server, 0), (server, client, port)):
                    workers.append(threading.Thread(target=self._forward, args=(source, sink, counted), daemon=True))
                    workers[-1].start()

    def _forward(self, source: socket.socket, sink: socket.socket, port: int) -> None:
        try:
            while data := source.recv(1 << 16):
                self.received[port] += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


def test_a_balancer_with_one_dead_server_costs_a_repetition_and_no_error(endpoints: ServerEndpoints) -> None:
    for live, scheme in ((endpoints.grpc_port, ""), (endpoints.rest_port, "http://")):
        for ports in ((live, free_port()), (free_port(), live)):
            with Balancer(*ports, farewell=UNAVAILABLE if scheme else b"") as balancer:
                for _ in range(2):
                    with Client(f"{scheme}127.0.0.1:{balancer.port}", timeout=20) as client:
                        np.testing.assert_array_equal(client.predict("affine", x=X, version=1)["y"], X * 2 + 1)


def test_connections_of_a_pool_reach_several_servers_behind_a_balancer(endpoints: ServerEndpoints) -> None:
    with Balancer(endpoints.grpc_port, endpoints.grpc_port) as balancer:
        pool = ConnectionSettings(channels=Channels(connections=3, compression="gzip", keepalive=300))
        with Client(f"127.0.0.1:{balancer.port}", connection=pool) as client:
            for _ in range(6):
                client.status("affine")
        assert len(set(balancer.received)) == 2


@contextmanager
def two_servers(folder: Path) -> Iterator[tuple[list[Balancer], Tls, ExitStack]]:
    """Run two embedded servers in processes of their own, which require client certificates, each behind a counter."""
    authority = Authority(folder)
    client = authority.issue("client")
    config = ssl_config(authority.issue("server"), authority, folder / "ssl.config")
    tls = Tls(authority.file, client.certificate, client.key, server_name="localhost")
    with ExitStack() as first, ExitStack() as stack:
        flags = [f"--ssl_config_file={config}"]
        servers = [on.enter_context(server_process(MODELS / "rows", flags)) for on in (first, stack)]
        counters = [stack.enter_context(Balancer(server.grpc_port)) for server in servers]
        yield counters, tls, first


def test_calls_take_turns_over_two_servers_with_client_certificates_and_survive_the_end_of_one(tmp_path: Path) -> None:
    with two_servers(tmp_path) as (counters, tls, first):
        target = f"grpcs://{','.join(f'127.0.0.1:{counter.port}' for counter in counters)}"
        with Client(target, connection=ConnectionSettings(tls=tls)) as client:
            client.wait_until_ready("rows", timeout=60)
            before = [counter.received.total() for counter in counters]
            for _ in range(40):
                assert client.metadata("rows").version
            answered = [counter.received.total() - count for counter, count in zip(counters, before, strict=True)]
            assert min(answered) > max(answered) / 4
            first.close()
            for _ in range(10):
                assert client.metadata("rows").version


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_compressed_requests_are_smaller_and_understood(endpoints: ServerEndpoints, scheme: str) -> None:
    rows = np.zeros((5000, 3), np.float32)
    sent = {}
    for compression in (None, "gzip"):
        with Balancer(endpoints.rest_port if scheme else endpoints.grpc_port) as balancer:
            settings = ConnectionSettings(channels=Channels(compression=compression))  # type: ignore[arg-type]
            with Client(f"{scheme}127.0.0.1:{balancer.port}", connection=settings) as client:
                np.testing.assert_array_equal(client.predict("affine", x=rows, version=1)["y"], rows + 1)
            sent[compression] = balancer.received[0]
    assert sent["gzip"] < sent[None] / 10


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_of_connections_over_rest_makes_requests_wait(endpoints: ServerEndpoints, limit: int) -> None:
    with Balancer(endpoints.rest_port) as balancer:
        settings = ConnectionSettings(channels=Channels(connections=limit))
        with Client(f"http://127.0.0.1:{balancer.port}", connection=settings) as client, ThreadPoolExecutor(8) as pool:
            done = [pool.submit(client.predict, "affine", {"x": X}, version=1) for _ in range(24)]
            for each in done:
                np.testing.assert_array_equal(each.result()["y"], X * 2 + 1)
        assert 1 <= balancer.connections <= limit


@pytest.mark.slow
def test_pings_that_come_too_often_are_explained(endpoints: ServerEndpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.client.connection.LEAST_KEEPALIVE", 0.05)
    settings = ConnectionSettings(channels=Channels(keepalive=0.1))
    with Client(endpoints.grpc_target, connection=settings) as client, pytest.raises(ConnectionFailedError) as caught:
        client.predict("slow", x=X, version=1)
    assert caught.value.code == "TFB7021" and "min_ping_interval_without_data_ms" in str(caught.value.fix)
