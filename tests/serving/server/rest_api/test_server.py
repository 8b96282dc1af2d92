"""The HTTP server: large and gzipped bodies, and the time limit."""

from __future__ import annotations

import gzip
import json
import subprocess
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bundler.render.kubernetes import STATE_SCRIPT, TREE
from serving.server import Server
from tests.serving.server.calls import post
from tests.serving.server.recordings import MODELS


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(MODELS / "rows") as running:
        yield running


def test_bodies_may_be_large(server: Server) -> None:
    array = np.ones((100_000, 4), np.float32)
    body = json.dumps({"signature_name": "single", "instances": array.tolist()}).encode()
    assert len(body) > 2_000_000
    assert np.array_equal(post(server, "rows:predict", body)["predictions"], 2 * array)


def test_gzipped_body_is_unpacked(server: Server) -> None:
    body = gzip.compress(b'{"signature_name": "single", "instances": [[1, 2, 3, 4]]}')
    answer = post(server, "rows:predict", body, **{"Content-Encoding": "gzip"})
    assert answer == {"predictions": [[2.0, 4.0, 6.0, 8.0]]}


def test_request_over_the_time_limit_is_504(spinners: Path) -> None:
    with (
        Server(spinners, rest_timeout_seconds=0.2) as running,
        pytest.raises(urllib.error.HTTPError) as late,
    ):
        post(running, f"{spinners.name}:predict", b'{"inputs": 5000}')
    assert late.value.code == 504
    assert json.load(late.value) == {"error": "Timed out waiting for notification"}


def test_probes_are_answered_while_all_threads_are_busy(spinners: Path) -> None:
    """Otherwise a probe that times out takes a busy server out of its Service, and overload becomes an outage."""
    script = str(TREE / STATE_SCRIPT)
    with Server(spinners, rest_threads=2) as running, ThreadPoolExecutor(24) as clients:
        requests = [clients.submit(post, running, f"{spinners.name}:predict", b'{"inputs": 300}') for _ in range(24)]
        probes = []
        while not all(request.done() for request in requests):
            command = ["bash", script, str(running.rest_port), spinners.name]
            probes.append(subprocess.run(command, capture_output=True, text=True, timeout=5.0))
        assert len(probes) > 3
        assert [probe.stderr for probe in probes if probe.returncode] == []
        assert all(request.result() == {"outputs": 2.0} for request in requests)
