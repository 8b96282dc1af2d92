"""A client reaches a server whose packets take long, as through a gateway on another continent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from serving import Client
from tests.serving.clients import each_client
from tests.serving.servers import small_server

client_class = each_client(__name__)

DELAY = 0.15
"""Seconds that each packet of the server takes."""


@contextmanager
def slow_network(port: int) -> Iterator[int]:
    """Yield a port that leads to another one; what comes back is late."""

    def forward(source: socket.socket, target: socket.socket, delay: float) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            near, _ = listener.accept()
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=forward, args=(far, near, DELAY))
                back.start()
                forward(near, far, 0)
                back.join()

        thread = threading.Thread(target=accept)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


def test_the_first_call_waits_for_a_slow_handshake() -> None:
    with small_server() as server, slow_network(server.grpc_port) as port, Client(f"127.0.0.1:{port}") as client:
        start = time.monotonic()
        assert client.predict("affine", {"x": np.float32([[1, 2, 3]])}, version=1)["y"].shape == (1, 3)
        assert time.monotonic() - start >= 2 * DELAY
