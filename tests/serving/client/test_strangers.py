"""Other clients of TensorFlow Serving and of the Open Inference Protocol work unchanged.

Each runs in its own process, because their protos collide.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import requirements
from tests.serving.processes import ServerProcess, server_process
from tests.serving.server.recordings import MODELS

SCRIPTS = Path(__file__).parents[1] / "strangers"
SECONDS = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("strangers")
    _save_tripler(folder / "one" / "1")
    paths = {name: MODELS / name for name in ("rows", "clsreg", "types")} | {"one": folder / "one"}
    configs = (
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}' for name, path in paths.items()
    )
    config = folder / "models.config"
    config.write_text(f"model_config_list {{ {' '.join(configs)} }}")
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = (f"--model_config_file={config}", f"--monitoring_config_file={monitoring}", "--open_inference_protocol")
    with server_process(*flags) as running:
        yield running


def _save_tripler(path: Path) -> None:
    """Save a model of one signature with input `x` [?, 4] and output `y`, the only kind that ovmsclient supports."""
    import tensorflow as tf

    model = tf.Module()
    triple = tf.function(lambda x: {"y": 3 * x}, input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    tf.saved_model.save(model, str(path), signatures=triple.get_concrete_function())


def run(script: str, *arguments: str, python: str = sys.executable) -> str:
    command = [python, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=SCRIPTS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tensorflow_serving_api_works(server: ServerProcess) -> None:
    assert "ok" in run("tfs_api.py", server.grpc_target)


def test_ovmsclient_works(server: ServerProcess) -> None:
    requirements.require(find_spec("ovmsclient"), "ovmsclient (pip install --no-deps ovmsclient==2023.1)")
    assert "ok" in run("ovms.py", server.grpc_target, f"127.0.0.1:{server.rest_port}")


@pytest.mark.parametrize("script", ["triton.py", "kserve_sdk.py"])
def test_client_of_the_open_inference_protocol_works(server: ServerProcess, script: str) -> None:
    python = requirements.strangers_python()
    assert "ok" in run(script, server.grpc_target, f"127.0.0.1:{server.rest_port}", python=python)


def curl(*arguments: str, data: bytes | None = None) -> tuple[int, str]:
    """Return status and body."""
    command = [requirements.curl(), "-sS", "--max-time", "60", "-w", "\n%{http_code}", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=True)
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), body


ONES = '{"instances": [[1, 1, 1, 1]]}'
TRIPLED = {"predictions": [[3.0, 3.0, 3.0, 3.0]]}


def test_curl_works_as_in_the_servers_documentation(server: ServerProcess) -> None:
    """tensorflow.org/tfx/serving/api_rest: `curl -d '{"instances": …}' -X POST http://…/v1/models/NAME:predict`."""
    one = f"{server.rest_target}/v1/models/one"
    status, body = curl("-d", ONES, "-X", "POST", f"{one}:predict")
    assert (status, json.loads(body)) == (200, TRIPLED)
    status, body = curl("-d", ONES, f"{one}/versions/1:predict")
    assert (status, json.loads(body)) == (200, TRIPLED)
    status, body = curl(one)
    assert (status, json.loads(body)["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    status, body = curl(f"{one}/metadata")
    assert (status, json.loads(body)["model_spec"]["version"]) == (200, "1")
    status, body = curl("-d", ONES, f"{server.rest_target}/v1/models/gone:predict")
    assert (status, json.loads(body)) == (404, {"error": "Servable not found for request: Latest(gone)"})
    status, body = curl("-X", "PUT", "-d", ONES, f"{one}:predict")
    assert (status, json.loads(body)) == (400, {"error": "Malformed request: PUT /v1/models/one:predict"})


def test_curl_can_send_a_chunked_or_gzipped_body(server: ServerProcess) -> None:
    predict = f"{server.rest_target}/v1/models/one:predict"
    status, body = curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", predict, data=ONES.encode())
    assert (status, json.loads(body)) == (200, TRIPLED)
    gzipped = gzip.compress(ONES.encode())
    status, body = curl("-H", "Content-Encoding: gzip", "--data-binary", "@-", predict, data=gzipped)
    assert (status, json.loads(body)) == (200, TRIPLED)


def test_curl_reads_the_metrics(server: ServerProcess) -> None:
    curl("-d", ONES, f"{server.rest_target}/v1/models/one:predict")
    status, body = curl(f"{server.rest_target}/monitoring/prometheus/metrics")
    assert status == 200
    assert ':tensorflow:serving:request_count{model_name="one",status="OK"}' in body
