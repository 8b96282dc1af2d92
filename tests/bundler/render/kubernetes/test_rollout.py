"""A rollout under load: with the Deployment's flags and order of events, no request fails.

Two server processes act as the old pod and the new one. A forwarder acts as the Service: like kube-proxy, it sends new
connections to ready pods and leaves existing connections alone. The old server is killed rather than stopped, because
tensorflow_model_server drains nothing. Times are a tenth of the Deployment's.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from bundler.render.kubernetes.base import CONNECTION_AGE
from serving import Client
from serving.errors import ServingError

pytestmark = pytest.mark.slow

ROWS = Path(__file__).parents[3] / "serving" / "recorded" / "models" / "rows"
AGE_MS = int(CONNECTION_AGE.rpartition("=")[2]) // 10
PRE_STOP = 4.6
"""A tenth of preStop's 46 s."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def pod(*flags: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    command = [sys.executable, "-m", "serving.server", f"--port={port}", "--model_name=rows"]
    process = subprocess.Popen([*command, f"--model_base_path={ROWS}", *flags], stderr=subprocess.DEVNULL)
    try:
        with Client(f"localhost:{port}") as client:
            client.wait_until_ready("rows", timeout=300)
        yield process, port
    finally:
        process.kill()
        process.wait()


class Service:
    """A forwarder that connects each new connection to the port that is its endpoint at that moment."""

    def __init__(self, endpoint: int) -> None:
        self.endpoint = endpoint
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            pod = socket.create_connection(("127.0.0.1", self.endpoint))
            thread = threading.Thread(target=self._carry, args=(client, pod))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, pod: socket.socket) -> None:
        with client, pod, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, pod)
            selector.register(pod, selectors.EVENT_READ, client)
            while not self._stopped.is_set():
                for key, _ in selector.select(0.05):
                    try:
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        key.data.sendall(data)
                    except OSError:
                        return
                    if not data:
                        return

    def close(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()


def rollout(*flags: str) -> tuple[int, int]:
    """Replace the old pod by the new one under load, and return the numbers of answered and failed requests."""
    with ExitStack() as stack:
        old, old_port = stack.enter_context(pod(*flags))
        _, new_port = stack.enter_context(pod(*flags))
        service = Service(old_port)
        stack.callback(service.close)
        client = stack.enter_context(Client(f"localhost:{service.port}"))
        answered = failed = 0
        events = [(1.0, lambda: setattr(service, "endpoint", new_port)), (1.0 + PRE_STOP, old.kill)]
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < PRE_STOP + 2.5:
            if events and elapsed >= events[0][0]:
                events.pop(0)[1]()
            try:
                client.predict("rows", x=np.ones((1, 4), np.float32), timeout=30)
                answered += 1
            except ServingError:
                failed += 1
            time.sleep(0.005)
    return answered, failed


def test_no_request_fails_during_a_rollout() -> None:
    answered, failed = rollout(f"--grpc_channel_arguments=grpc.max_connection_age_ms={AGE_MS}")
    assert failed == 0
    assert answered > 100


def test_requests_fail_without_a_limit_on_the_age_of_connections() -> None:
    """Without the flag, a client stays with the old pod until that is gone."""
    _, failed = rollout()
    assert failed > 0
