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
from tests.documents import blocks_of

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


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a tracking server with a database; return the folder of its artifacts, beside a file `url`."""
    program, port, folder = requirements.mlflow_server(), free_port(), tmp_path_factory.mktemp("tracking")
    url = f"http://127.0.0.1:{port}"
    command = (
        program, "server", "--host", "127.0.0.1", "--port", port, "--workers", 1,
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", folder / "artifacts",
    )  # fmt: skip
    with process(folder / "tracking.log", f"{url}/health", *command, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"):
        (folder / "url").write_text(url)
        yield folder / "artifacts"


@pytest.fixture
def remote(mlflow: Any, tracking: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the package mlflow, which uses the tracking server."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(tracking.with_name("url").read_text())
    return mlflow


def test_bundle_goes_to_a_tracking_server_and_comes_back(grown: Bundle, remote: Any, tracking: Path) -> None:
    info = bundler.mlflow.log_model(grown, registered_model_name="whole")
    assert int(info.registered_model_version) == 1
    client = remote.MlflowClient()
    assert client.get_run(info.run_id).data.metrics["saved_model/size_bytes"] == grown.size_bytes("mlp", 2)
    again = bundler.mlflow.log_model(grown, registered_model_name="whole", version="stable", form="float32")
    assert int(again.registered_model_version) == 2
    client.set_registered_model_alias("whole", "champion", 1)
    for uri in ("models:/whole/1", "models:/whole@champion", info.model_uri):
        bundle = bundler.mlflow.load_model(uri)
        assert bundle.manifest == grown.manifest
    assert not any(problem.serious for problem in bundle.verify())
    assert remote.pyfunc.load_model("models:/whole/2").predict(np.zeros((1, 4), np.float32))["y"].shape == (1, 3)
    with pytest.raises(remote.exceptions.MlflowException, match="version=3"):
        bundler.mlflow.load_model("models:/whole/3")
    stored = next(path for path in tracking.rglob("models/mlp/1/saved_model.pb") if info.model_id in path.parts)
    stored.write_bytes(stored.read_bytes()[:-1] + b"\0")
    with pytest.raises(VerifyError, match=r"models/mlp/1/saved_model\.pb: changed"):
        bundler.mlflow.load_model("models:/whole/1")


def test_server_that_is_away_is_mlflows_error(remote: Any) -> None:
    remote.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(remote.exceptions.MlflowException, match="Connection refused"):
        bundler.mlflow.load_model("models:/whole/2")


def test_scoring_server_answers_with_the_golden_outputs(
    grown: Bundle, remote: Any, tmp_path: Path
) -> None:
    bundler.mlflow.log_model(grown, registered_model_name="digits", input_example=False, metrics=False)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (
        sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/digits/1", "--env-manager", "local",
        "--host", "127.0.0.1", "--port", port, "--workers", 1,
    )  # fmt: skip
    environment = {"MLFLOW_TRACKING_URI": remote.get_tracking_uri(), "PYTHONPATH": str(ROOT)}
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


MODEL = """
import torch

class Digits(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x)

def make():
    return Digits(64, 10), (torch.zeros(2, 64),)
"""


def test_python_of_the_documentation_works(mlflow: Any, tmp_path: Path) -> None:
    """The page's blocks need a package that not everybody has, so that they are run here and not with those of other pages."""
    python = [block.text for block in blocks_of("docs/how-to/mlflow.md") if block.language == "python"]
    assert len(python) == 3
    (tmp_path / "model.py").write_text(MODEL)
    check = 'assert answer["output"].shape == (2, 10) and small["output"].shape == (1, 10)'
    (tmp_path / "page.py").write_text("\n".join([*python, check]))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": str(tmp_path / "mlruns"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=850
    )
    assert done.returncode == 0, done.stderr
    assert "models:/m-" in done.stdout and "Bundle(" in done.stdout
