"""SIGTERM and SIGINT at any moment: during a load, under a kernel that never returns, twice, with a log that nobody reads."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest

from serving.protocol.messages import serving_message
from serving.protocol.tensors import to_proto
from tests.serving.processes import ServerProcess, free_port, server_process
from tests.serving.server.servables.warmup_records import prediction_log, write_warmup
from tests.serving.servers import ROOT

SECONDS = 60.0
FOR_HOURS = 2**31 - 1


@pytest.fixture(scope="module")
def spinner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of a model whose requests choose how long they take."""
    from tests.serving.server.slow_model import save_spinner

    base = tmp_path_factory.mktemp("spinner")
    save_spinner(base / "1", 1.0)
    return base


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of a model whose warm-up, and so whose load, takes hours."""
    from tests.serving.server.slow_model import save_spinner

    base = tmp_path_factory.mktemp("endless")
    save_spinner(base / "1", 1.0)
    request = serving_message("PredictRequest")(model_spec={"name": "m"})
    request.inputs["turns"].CopyFrom(to_proto(np.int32(FOR_HOURS)))
    write_warmup(base, prediction_log("predict_log", request.SerializeToString()))
    return base


def flags(base: Path) -> tuple[str, ...]:
    return ("--model_name=m", f"--model_base_path={base}")


@contextmanager
def running_request(server: ServerProcess, turns: int = FOR_HOURS) -> Iterator[None]:
    """Keep a request running until the server ends."""

    def send() -> None:
        body = f'{{"inputs": {turns}}}'.encode()
        with suppress(urllib.error.URLError, HTTPException, OSError):
            urllib.request.urlopen(f"{server.rest_target}/v1/models/m:predict", body, timeout=SECONDS * 2).read()

    worker = threading.Thread(target=send)
    worker.start()
    time.sleep(1.0)
    try:
        yield
    finally:
        server.process.kill()
        worker.join()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_second_signal_ends_the_server_at_once(spinner: Path, number: int, code: int) -> None:
    """A signal that comes twice within an instant, as `timeout` sends it, counts once."""
    with server_process(*flags(spinner)) as server, running_request(server):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        server.process.send_signal(number)
        time.sleep(1.0)
        assert server.process.poll() is None
        server.process.send_signal(number)
        started = time.monotonic()
        assert server.process.wait(SECONDS) == code
        assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_during_the_first_load_ends_the_server_at_once(endless: Path, tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "serving.server", *flags(endless), f"--port={free_port()}"]
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process:
        end = time.monotonic() + SECONDS
        while "Restoring parameters" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(number)
        started = time.monotonic()
        assert process.wait(SECONDS) == 0, log.read_text()
        assert time.monotonic() - started < 2.0
    assert "stopping before the models are loaded" in log.read_text()


@pytest.mark.slow
def test_sigterm_ends_a_server_whose_kernel_never_returns(spinner: Path, tmp_path: Path) -> None:
    """After 30 seconds for the running requests and 5 for the models, the process ends by itself."""
    log = tmp_path / "log"
    with log.open("wb") as output, server_process(*flags(spinner), stderr=output) as server, running_request(server):
        started = time.monotonic()
        assert server.terminate() == 143
        assert 30 < time.monotonic() - started < 45
    assert "Stopping now: requests are still running after 35 s." in log.read_text()


@pytest.mark.slow
def test_sigterm_ends_a_server_during_the_load_of_a_new_version(spinner: Path, endless: Path, tmp_path: Path) -> None:
    base, log = tmp_path / "m", tmp_path / "log"
    base.mkdir()
    (base / "1").symlink_to(spinner / "1")
    with log.open("wb") as output, server_process(*flags(base), stderr=output) as server:
        (base / "2").symlink_to(endless / "1")
        end = time.monotonic() + SECONDS
        while log.read_text().count("Restoring parameters") < 2:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        time.sleep(0.5)  # now the warm-up runs
        started = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - started < 5


@pytest.mark.slow
def test_second_signal_ends_a_server_whose_log_nobody_reads(spinner: Path) -> None:
    """The pipe of the log is full, so every thread that logs stands still."""
    ports = (f"--port={free_port()}", f"--rest_api_port={(rest := free_port())}")
    command = [sys.executable, "-m", "serving.server", *flags(spinner), *ports, "--log_format=json"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"Exporting HTTP" in line:
                break
        stuck = 0
        while not stuck:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{rest}/v1/models/m", timeout=2.0).read()
            except OSError:
                stuck += 1
        process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(SECONDS) == 143
        assert time.monotonic() - started < 2.0
