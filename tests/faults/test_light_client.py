"""The light client counts what it should: answers, losses, wrong values, stalls; so do the two meters beside it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.light_client import PER_SECOND, LightClient, LogBytes, MemoryPeak, Result, resident_mb
from tests.serving.processes import ServerProcess, server_process
from tests.serving.server.recordings import MODELS


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "m"
    shutil.copytree(MODELS / "rows" / "1", folder / "1")
    return folder


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[ServerProcess]:
    with server_process("--model_name=m", f"--model_base_path={base}") as running:
        yield running


@pytest.mark.slow
def test_requests_go_over_both_interfaces_at_the_given_rate(server: ServerProcess) -> None:
    with LightClient(server) as light:
        time.sleep(2.0)
    assert not light.result.failures
    assert light.result.sent == pytest.approx(2 * PER_SECOND, abs=PER_SECOND)
    assert min(map(len, light.result.seconds.values())) > PER_SECOND / 2
    assert 0 < light.result.p50 <= light.result.p99 < 1.0


def test_wrong_values_are_losses(server: ServerProcess) -> None:
    with pytest.raises(RuntimeError, match="first request"), LightClient(server, factor=2.0):
        pass


def test_stall_is_counted_from_the_time_that_a_request_was_due(server: ServerProcess) -> None:
    with LightClient(server) as light:
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        server.process.send_signal(signal.SIGCONT)
    assert not light.result.failures
    assert light.result.p50 > 0.3 and light.result.p99 > 1.2


@pytest.mark.slow
def test_server_that_ends_loses_requests(base: Path) -> None:
    with server_process("--model_name=m", f"--model_base_path={base}") as server, LightClient(server) as light:
        time.sleep(0.5)
        server.process.kill()
        time.sleep(0.5)
    assert light.result.losses > PER_SECOND / 4
    assert light.result.p99 == 10.0


def test_lost_request_counts_as_a_slow_one() -> None:
    assert Result({"REST": [0.1] * 50, "gRPC": [0.1] * 48}, ["lost", "lost"]).p99 == 10.0


CHILD = """[sys.executable, "-c", "import time; x = b'x' * (200 << 20); time.sleep(0.3)"]"""
TAKEN = {
    "by the process, for a moment": "x = bytearray(200 << 20); x[::4096] = x[::4096]; del x",
    "by a child": f"import subprocess; subprocess.run({CHILD})",
}


@pytest.mark.parametrize("taken", TAKEN.values(), ids=TAKEN)
def test_peak_of_memory_is_seen(taken: str) -> None:
    script = f"import sys\nfor line in sys.stdin:\n    {taken}\n    print('done', flush=True)"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    with process, MemoryPeak(process.pid) as memory:
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        process.stdin.close()
    assert 180 < memory.rise_mb < 300


def test_a_child_before_its_exec_is_not_counted_twice() -> None:
    """It has the resident memory of its parent until it runs another program."""
    script = "import os, time\nx = b'x' * (200 << 20)\nprint(os.fork(), flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            assert 180 < resident_mb(process.pid) < 300
        finally:
            for each in (*psutil.Process(process.pid).children(), process):
                each.kill()


def test_bytes_of_a_log_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with LogBytes(log) as counted, log.open("a") as file:
        file.write("12345\n")
    assert counted.written == 6 and counted.text() == "12345\n"
