"""Recordings of the batching server whose answers depend on requests in the same batch or queue.

A slow model keeps the server's only batch thread busy, so that requests sent meanwhile wait in the queue for certain.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from serving import Client
from serving.server import Server
from serving.server.models.states import wait_until
from tests.serving.server.known_differences import KNOWN
from tests.serving.server.recordings import (
    IN_COMPANY,
    ROWS,
    Row,
    differences,
    recorded_options,
    send_rest,
    write_config_files,
)
from tests.serving.server.slow_model import save_row_spinner

BY_ID = {row["id"]: row for row in ROWS}
FULL = [[1, 2, 3, 4]] * 4
"""A request that fills a batch of the recorded server."""

_SPIN = np.array([4000], np.int32)


class Batched:
    """The recorded server C with an additional slow model."""

    def __init__(self, server: Server, channel: grpc.Channel, pool: ThreadPoolExecutor) -> None:
        self.server, self.channel, self.pool = server, channel, pool

    def send(self, row: Row) -> list[str]:
        """Return how the answer differs from the recorded one."""
        return differences(row, self.server, self.channel)

    def post(self, body: Any) -> Future[int]:
        """Send a REST request that is not recorded to model `rows`. The result is its status."""
        row = {"method": "POST", "path": "/v1/models/rows:predict", "request_body": json.dumps(body)}
        assert self.server.rest_port is not None
        return self.pool.submit(lambda: send_rest(self.server.rest_port or 0, row).status)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the batch thread busy within the block, then wait for it."""
        before = self._runs()
        with Client(f"127.0.0.1:{self.server.grpc_port}") as client:
            slow = self.pool.submit(client.predict, "slow", {"turns": _SPIN})
            assert wait_until(lambda: self._runs() > before, seconds=20)
            yield
            slow.result()

    def _runs(self) -> int:
        found = re.search(r"wrapped_run_count\{\} (\d+)", self.server.metrics.text())
        return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def batched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batched]:
    folder = tmp_path_factory.mktemp("batched")
    save_row_spinner(folder / "slow" / "1")
    write_config_files(folder)
    models = (folder / "b.config").read_text().rstrip().rstrip("}")
    slow = f'config {{ name: "slow" base_path: "{folder}/slow" model_platform: "tensorflow" }} }}'
    (folder / "b.config").write_text(models + slow)
    options = replace(recorded_options("C", folder), grpc_threads=16, rest_threads=16)
    with (
        Server(options) as server,
        ThreadPoolExecutor(16) as pool,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield Batched(server, channel, pool)


def wait_for_arrival() -> None:
    """Give the requests just sent time to get into the queue; the batch thread is busy for far longer."""
    time.sleep(0.1)


FLOODS = sorted(name for name in IN_COMPANY if "flood" in name)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FLOODS)
def test_full_queue_refuses_as_recorded(name: str, batched: Batched) -> None:
    with batched.busy():
        waiting = [batched.post({"instances": FULL}) for _ in range(2)]
        wait_for_arrival()
        assert not batched.send(BY_ID[name])
    assert [future.result() for future in waiting] == [200, 200]


COMPANIONS = {
    "batch_mixshape_b": {"instances": [[1, 2, 3, 4]]},
    "batch_err_shared_ok": {"signature_name": "err", "inputs": [-1.0]},
    "g_b_mixshape_0": {"instances": [[1, 2, 3, 4]]},
    "g_b_mixshape_1": {"instances": [[1, 2, 3]]},
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", COMPANIONS)
def test_failure_is_shared_by_the_batch_as_recorded(name: str, batched: Batched) -> None:
    with batched.busy():
        answer = batched.pool.submit(batched.send, BY_ID[name])
        wait_for_arrival()
        companion = batched.post(COMPANIONS[name])
    assert not answer.result()
    assert companion.result() == 400


def test_request_without_rows_is_answered_at_once(batched: Batched) -> None:
    """Also after a client has given up, in which case the real server aborts."""
    with batched.busy():
        assert not batched.send(BY_ID["g_b_zero_waits_then_joined"])
    assert batched.send({**BY_ID["g_b_expire"], "timeout_s": 0.05}) in ([], ["code OK (), recorded DEADLINE_EXCEEDED"])
    assert not batched.send(BY_ID["g_b_zero_waits_then_joined"])


def test_every_recording_in_company_is_tested() -> None:
    assert {*FLOODS, *COMPANIONS} == IN_COMPANY
    assert not IN_COMPANY & KNOWN.keys()
