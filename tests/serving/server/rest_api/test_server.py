"""The HTTP server: large and gzipped bodies, and the time limit."""

from __future__ import annotations

import gzip
import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

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
