"""What clients and files repeat for ever fills no disk with the server's log."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import grpc
import pytest

from serving.protocol.messages import PREDICTION_SERVICE
from tests.faults.attacks.over_grpc import connections
from tests.faults.light_client import LogBytes
from tests.faults.victim import PREDICT, Victim, victim

DAY = 86_400
MOST_BYTES_PER_DAY = 10_000_000
PER_SECOND = 1_000
"""Malformed messages per second for which the limit of a day is meant."""


@pytest.fixture(scope="module")
def attacked() -> Iterator[Victim]:
    with victim("--model_config_file_poll_wait_seconds=1") as running:
        yield running


@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"])
def test_malformed_messages_keep_their_status_and_are_not_logged(attacked: Victim, method: str) -> None:
    with LogBytes(attacked.log) as log:
        assert attacked.call(b"\xff" * 16, f"/{PREDICTION_SERVICE}/{method}") == (
            "INTERNAL", "Exception deserializing request!",
        )  # fmt: skip
        assert attacked.call(b"\xff", "/grpc.reflection.v1alpha.ServerReflection/Nope")[0] == "UNIMPLEMENTED"
    assert not log.written, log.text()


def test_a_day_of_malformed_messages_logs_less_than_10_mb(attacked: Victim) -> None:
    """4,000 messages stand for 4 s of a day."""
    count = 4 * PER_SECOND
    with LogBytes(attacked.log) as log, grpc.insecure_channel(attacked.server.grpc_target) as channel:
        method = channel.unary_unary(PREDICT)
        for start in range(0, count, 200):
            calls = [method.future(b"\xff" * 16, timeout=60.0) for _ in range(start, start + 200)]
            assert {call.code() for call in calls} == {grpc.StatusCode.INTERNAL}
    assert log.written * DAY * PER_SECOND / count < MOST_BYTES_PER_DAY, log.text()


def test_binary_config_is_named_and_not_echoed(attacked: Victim) -> None:
    kept = attacked.config.read_bytes()
    try:
        with LogBytes(attacked.log) as log:
            attacked.config.write_bytes(random.Random(1).randbytes(200_000))
            time.sleep(3.5)
    finally:
        attacked.config.write_bytes(kept)
    assert "Failed to read ModelServerConfig file" in log.text()
    assert log.written < 2_000


@pytest.mark.slow
def test_too_many_open_files_log_a_few_lines() -> None:
    with victim(files=200) as small:
        with LogBytes(small.log) as log:
            connections(small)
        assert "Too many open files" in log.text()
        assert log.written < 6_000, log.text()
        assert "Traceback" not in log.text()
