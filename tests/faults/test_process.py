"""Faults of the process and its machine: a full disk, SIGTERM under load, kill -9, a corrupt model."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tensors import to_proto
from tests.serving.processes import ServerProcess, free_port, server_process
from tests.serving.server.recordings import MODELS

SINGLE = b'{"signature_name": "single", "instances": [[1, 2, 3, 4]]}'
DOUBLED = {"predictions": [[2.0, 4.0, 6.0, 8.0]]}
SECONDS = 120.0


def flags(base: Path) -> tuple[str, ...]:
    return ("--model_name=m", f"--model_base_path={base}")


def post(server: ServerProcess, body: bytes = SINGLE) -> object:
    request = urllib.request.Request(f"{server.rest_target}/v1/models/m:predict", body)
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return json.load(response)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full exists on Linux only")
def test_server_answers_when_the_disk_of_its_log_is_full(tmp_path: Path) -> None:
    """Every write to /dev/full fails with ENOSPC."""
    shutil.copytree(MODELS / "rows" / "1", tmp_path / "m" / "1")
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with (
        Path("/dev/full").open("wb") as full,
        server_process(*flags(tmp_path / "m"), f"--monitoring_config_file={monitoring}", stderr=full) as server,
    ):
        assert post(server) == {"predictions": [[1.0, 2.0, 3.0, 4.0]]}
        shutil.copytree(MODELS / "rows" / "2", tmp_path / "2")
        (tmp_path / "2").rename(tmp_path / "m" / "2")
        deadline = time.monotonic() + SECONDS
        while post(server) != DOUBLED and time.monotonic() < deadline:
            time.sleep(0.1)
        assert post(server) == DOUBLED
        with urllib.request.urlopen(f"{server.rest_target}/monitoring/prometheus/metrics", timeout=SECONDS) as response:
            assert b':tensorflow:serving:request_count{model_name="m",status="OK"}' in response.read()
        server.terminate()


@pytest.mark.slow
def test_sigterm_under_load_answers_every_accepted_request(spinner: Path) -> None:
    """Over both interfaces, requests get a correct answer or are refused before they run; the exit code is 0."""
    request = serving_message("PredictRequest")(model_spec={"name": "m"})
    request.inputs["turns"].CopyFrom(to_proto(np.int32(3000)))
    data = request.SerializeToString()
    answers: list[object] = []
    with server_process(*flags(spinner)) as server:

        def over_grpc() -> None:
            with grpc.insecure_channel(server.grpc_target) as channel:
                reply = channel.unary_unary(f"/{PREDICTION_SERVICE}/Predict")(data, timeout=SECONDS)
            (output,) = serving_message("PredictResponse").FromString(reply).outputs.values()
            answers.append(output.float_val[0])

        def over_rest() -> None:
            answers.append(post(server, b'{"inputs": 3000}')["outputs"])  # type: ignore[index]

        workers = [threading.Thread(target=send) for send in (over_grpc, over_rest) * 4]
        for worker in workers:
            worker.start()
        time.sleep(1.0)
        code = server.terminate()
        for worker in workers:
            worker.join()
        with pytest.raises((urllib.error.URLError, http.client.HTTPException)):
            post(server, b'{"inputs": 0}')
    assert answers == [1.0] * 8
    assert code == 0


@pytest.fixture(scope="module")
def spinner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.serving.server.slow_model import save_spinner

    base = tmp_path_factory.mktemp("spinner")
    save_spinner(base / "1", 1.0)
    return base


@pytest.mark.slow
def test_killed_server_restarts_on_the_same_ports() -> None:
    """The ports are free at once, although connected clients keep their ends of the connections."""
    ports = {"grpc_port": free_port(), "rest_port": free_port()}
    with server_process(*flags(MODELS / "rows"), **ports) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=SECONDS)
        connection.request("POST", "/v1/models/m:predict", SINGLE)
        assert json.load(connection.getresponse()) == DOUBLED
        server.process.kill()
        server.process.wait()
    with server_process(*flags(MODELS / "rows"), **ports) as server:
        assert post(server) == DOUBLED
    connection.close()


@pytest.mark.slow
def test_corrupt_model_ends_the_start_and_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(MODELS / "rows" / "1", tmp_path / "m" / "1")
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"\xff" * 5000)
    with pytest.raises(AssertionError, match="the server ended with 255"), server_process(
        *flags(tmp_path / "m"), "--max_num_load_retries=0"
    ):
        pass
    output = "".join(capfd.readouterr())
    assert "1 servable(s) did not become available: {{{name: m version: 1} due to error" in output
    assert "Traceback" not in output
