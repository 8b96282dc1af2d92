"""The flavour with a real tracking server and scoring server, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundler.mlflow
from bundler.errors import VerifyError
from bundler.validation.bundle import Bundle
from serving.golden.data import Golden
from tests import requirements
from tests.bundler.cli.test_serve import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 300


@contextmanager
def process(log: Path, url: str, *command: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until it answers at `url`, and stop it at the end."""
    own = {key: value for key, value in os.environ.items() if key != "MLFLOW_ALLOW_FILE_STORE"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=subprocess.STDOUT, env={**own, **environment}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not answers(url):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and its workers."""
    if server.poll() is None:
        os.killpg(server.pid, 15)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)
            server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def post(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        return exc.code, json.loads(exc.read())


@pytest.fixture
def tracking(mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Return a tracking server with a database and a store of artifacts; MLflow in this process uses it."""
    program, port = requirements.mlflow_server(), free_port()
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    database, artifacts = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts"
    command = (
        program, "server", "--host", "127.0.0.1", "--port", port, "--workers", 1,
        "--backend-store-uri", database, "--artifacts-destination", artifacts,
    )  # fmt: skip
    with process(tmp_path / "tracking.log", f"{url}/health", *command, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false") as server:
        mlflow.set_tracking_uri(url)
        yield server


def test_bundle_goes_to_a_tracking_server_and_comes_back(
    tracking: subprocess.Popen[bytes], grown: Bundle, mlflow: Any, tmp_path: Path
) -> None:
    info = bundler.mlflow.log_model(grown, registered_model_name="digits")
    assert info.registered_model_version == 1
    run = mlflow.MlflowClient().get_run(info.run_id)
    assert run.data.metrics["saved_model/size_bytes"] == grown.size_bytes("mlp", 2)
    again = bundler.mlflow.log_model(grown, registered_model_name="digits", version="stable", form="float32")
    assert again.registered_model_version == 2
    mlflow.MlflowClient().set_registered_model_alias("digits", "champion", 1)
    for uri in ("models:/digits/1", "models:/digits@champion", info.model_uri):
        bundle = bundler.mlflow.load_model(uri)
        assert bundle.manifest == grown.manifest
        assert not any(problem.serious for problem in bundle.verify())
    assert mlflow.pyfunc.load_model("models:/digits/2").predict(np.zeros((1, 4), np.float32))["y"].shape == (1, 3)
    with pytest.raises(mlflow.exceptions.MlflowException, match="version=3"):
        bundler.mlflow.load_model("models:/digits/3")
    stored = next((tmp_path / "artifacts").rglob(f"{info.model_id}/**/models/mlp/1/saved_model.pb"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"\0")
    with pytest.raises(VerifyError, match=r"models/mlp/1/saved_model\.pb: changed"):
        bundler.mlflow.load_model("models:/digits/1")
    stop(tracking)
    with pytest.raises(mlflow.exceptions.MlflowException, match="Connection refused"):
        bundler.mlflow.load_model("models:/digits/2")


def test_scoring_server_answers_with_the_golden_outputs(
    tracking: subprocess.Popen[bytes], grown: Bundle, mlflow: Any, tmp_path: Path
) -> None:
    bundler.mlflow.log_model(grown, registered_model_name="digits", input_example=False, metrics=False)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (
        sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/digits/1", "--env-manager", "local",
        "--host", "127.0.0.1", "--port", port, "--workers", 1,
    )  # fmt: skip
    environment = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PYTHONPATH": str(ROOT)}
    with process(tmp_path / "scoring.log", f"{url}/ping", *command, **environment):
        for case in Golden.load(grown.layout.golden_file("mlp", 2)).cases:
            status, answer = post(f"{url}/invocations", {"inputs": {"x": case.inputs["x"].tolist()}})
            assert status == 200, answer
            np.testing.assert_allclose(answer["predictions"]["y"], case.outputs["y"], rtol=1e-4, atol=1e-6)
        rows = [[0.0, 1.0, 2.0, 3.0]]
        _, one = post(f"{url}/invocations", {"inputs": {"x": rows}, "params": {"version": "stable"}})
        _, other = post(f"{url}/invocations", {"instances": [{"x": rows[0]}], "params": {"form": "fast_path"}})
        np.testing.assert_allclose(one["predictions"]["y"], other["predictions"]["y"], rtol=1e-5)
        status, refused = post(f"{url}/invocations", {"inputs": {"x": rows}, "params": {"version": "canary"}})
        assert status == 400 and "TFB1006" in refused["message"] and "canary" in refused["message"]
        status, refused = post(f"{url}/invocations", {"inputs": {"x": [[1.0]]}})
        assert status == 400 and "does not match expected shape" in refused["message"]
