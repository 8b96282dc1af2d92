"""Requests with 0 rows under batching: a lone one waits for ever in the real server, and is answered at once here."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving.server import Server
from tests.serving.server.calls import post
from tests.serving.server.recordings import MODELS

EMPTY = b'{"signature_name": "single", "inputs": []}'
FULL = json.dumps({"signature_name": "single", "instances": [[1, 2, 3, 4]]}).encode()


def test_requests_without_rows_never_wait_for_company(tmp_path: Path) -> None:
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 30000000 } num_batch_threads { value: 1 }")
    with (
        Server(MODELS / "rows", enable_batching=True, batching_parameters_file=str(parameters), rest_threads=16) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        assert pool.submit(post, server, "rows:predict", EMPTY).result(timeout=10) == {"outputs": []}
        waiting = [pool.submit(post, server, "rows:predict", FULL) for _ in range(7)]
        assert pool.submit(post, server, "rows:predict", EMPTY).result(timeout=10) == {"outputs": []}
        assert not any(request.done() for request in waiting)
        waiting.append(pool.submit(post, server, "rows:predict", FULL))
        assert [request.result(timeout=10) for request in waiting] == [{"predictions": [[2.0, 4.0, 6.0, 8.0]]}] * 8
