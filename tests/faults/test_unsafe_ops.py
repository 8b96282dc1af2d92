"""A stranger's model that reads or writes files, or calls Python: it is named and not run, and nothing is touched."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bundler import Bundle
from bundler.errors import UnsafeModelError
from bundler.validation.unsafe import refuse_unsafe
from serving.client.client import Client
from serving.errors import RequestError
from serving.protocol.status import StatusError
from serving.server import Server
from tests import hostile_models
from tests.bundler.cli.commands import run as tfbundle
from tests.serving.processes import free_port, server_process
from tests.serving.servers import ROOT

SECONDS = 120


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def writer(tmp_path: Path, canary: Path) -> Path:
    """Return the base path of a model that writes the canary while it is loaded."""
    hostile_models.writes_on_load(tmp_path / "writer" / "1", canary)
    return tmp_path / "writer"


@pytest.fixture
def stranger(small_bundle: Path, tmp_path: Path, writer: Path) -> Path:
    """Return a bundle whose SavedModel writes the canary, and whose bundle.json is consistent with that."""
    return hostile_models.bundle_with(small_bundle, tmp_path / "stranger", writer / "1")


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [sys.executable, "-m", "serving.server", f"--port={free_port()}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


def state(port: int | None, model: str) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=SECONDS)
    try:
        connection.request("GET", f"/v1/models/{model}")
        status: dict[str, object] = json.loads(connection.getresponse().read())["model_version_status"][0]
        return status
    finally:
        connection.close()


def test_a_server_process_does_not_load_a_model_that_writes(writer: Path, canary: Path) -> None:
    done = start("--model_name=writer", f"--model_base_path={writer}")
    assert done.returncode == 255
    assert "PERMISSION_DENIED: The model does more than compute" in done.stdout
    assert "WriteFile writes files" in done.stdout
    assert "--allow_unsafe_ops" in done.stdout
    assert not canary.exists()


def test_the_flag_lets_a_server_process_load_it(writer: Path, canary: Path) -> None:
    with server_process("--model_name=writer", f"--model_base_path={writer}", "--allow_unsafe_ops") as server:
        assert state(server.rest_port, "writer")["state"] == "AVAILABLE"
    assert canary.read_text() == "written"


MODELS: dict[str, Callable[[Path, Path], Path]] = {
    "ReadFile": hostile_models.reads,
    "WriteFile": hostile_models.writes,
    "PrintV2": hostile_models.prints,
    "EagerPyFunc": lambda folder, canary: hostile_models.calls_python(folder),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("op", MODELS)
def test_a_model_whose_signature_reaches_out_is_not_served(tmp_path: Path, canary: Path, op: str) -> None:
    MODELS[op](tmp_path / "model" / "1", canary)
    with pytest.raises(StatusError, match=f"PERMISSION_DENIED: The model does more than compute.*{op} "):
        Server(tmp_path / "model").start()
    assert not canary.exists()


def test_other_models_are_served_and_the_state_has_the_reason(tmp_path: Path, writer: Path, canary: Path) -> None:
    hostile_models.save(tmp_path / "good" / "1")
    models = "".join(
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}' for name in ("good", "writer")
    )
    (tmp_path / "models.config").write_text(f"model_config_list {{ {models} }}")
    with Server(tmp_path / "models.config") as server:
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            assert client.predict("good", x=np.ones(2, np.float32))["y"].tolist() == [2.0, 2.0]
            with pytest.raises(RequestError, match="Servable not found"):
                client.predict("writer", x=np.ones(2, np.float32))
        assert state(server.rest_port, "good")["state"] == "AVAILABLE"
        refused = state(server.rest_port, "writer")
    assert refused["state"] == "END"
    assert "WriteFile writes files" in str(refused["status"])
    assert not canary.exists()


def test_a_new_version_that_writes_leaves_the_old_one_serving(tmp_path: Path, writer: Path, canary: Path) -> None:
    hostile_models.save(tmp_path / "model" / "1")
    with Server(tmp_path / "model", poll_seconds=0.1, settle_seconds=0.0) as server:
        (writer / "1").rename(tmp_path / "model" / "2")
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            deadline = iter(range(200))
            while state(server.rest_port, "model")["state"] != "END" and next(deadline) < 199:
                pass
            assert client.predict("model", x=np.ones(1, np.float32))["y"].tolist() == [2.0]
        assert "does more than compute" in str(state(server.rest_port, "model")["status"])
    assert not canary.exists()


def test_verify_names_it_and_does_not_run_it(stranger: Path, canary: Path) -> None:
    done = tfbundle("verify", stranger, code=1)
    assert "models/mlp/1: does more than compute: WriteFile writes files" in done.stderr
    assert "is intact" not in done.stdout
    assert not canary.exists()
    assert "WriteFile" in tfbundle("verify", stranger, "--no-parity", code=1).stderr
    problems = json.loads(tfbundle("verify", stranger, "--json", code=1).stdout)["problems"]
    assert [problem["path"] for problem in problems] == ["models/mlp/1"]


def test_verify_runs_it_if_that_is_allowed(stranger: Path, canary: Path) -> None:
    tfbundle("verify", stranger, "--allow-unsafe-ops", code=1)  # its answers are not those of the golden data
    assert canary.read_text() == "written"


def test_inspect_names_it_from_the_file_and_not_from_the_record(stranger: Path, canary: Path) -> None:
    assert "unsafe: models/mlp/1: WriteFile writes files" in tfbundle("inspect", stranger).stdout
    facts = json.loads(tfbundle("inspect", stranger, "--json").stdout)
    assert "WriteFile" in facts["models"]["mlp"]["versions"]["1"]["unsafe"][0]
    folder = stranger / "models" / "mlp" / "1"
    assert "unsafe: WriteFile writes files" in tfbundle("inspect", folder).stdout
    assert json.loads(tfbundle("inspect", folder, "--json").stdout)["unsafe"] != []
    assert not canary.exists()


@pytest.mark.parametrize("runner", ["embedded", "docker", "binary"])
def test_launch_refuses_it_before_anything_is_started(stranger: Path, canary: Path, runner: str) -> None:
    done = tfbundle("launch", stranger, "--runner", runner, code=1)
    assert "error TFB5105: The model does more than compute and was not run:" in done.stderr
    assert "repeat the command with --allow-unsafe-ops" in done.stderr
    assert not canary.exists()


@pytest.mark.slow
def test_launch_serves_it_if_that_is_allowed(stranger: Path, canary: Path) -> None:
    ports = ("--port", free_port(), "--rest-port", free_port())
    done = tfbundle("launch", stranger, "--allow-unsafe-ops", "--check", "--no-smoke", *ports)
    assert "mlp: version 1 AVAILABLE" in done.stdout
    assert canary.read_text() == "written"


def test_serve_refuses_it(stranger: Path, canary: Path) -> None:
    done = tfbundle("serve", stranger, f"--port={free_port()}", f"--rest_api_port={free_port()}", code=1)
    assert "PERMISSION_DENIED: The model does more than compute" in done.stderr
    assert not canary.exists()


def test_bench_refuses_to_advise_on_it(stranger: Path, tmp_path: Path, canary: Path) -> None:
    done = tfbundle("bench", "--bundle", stranger, "--advise", tmp_path / "tuned", code=1)
    assert "does more than compute and was not run" in done.stderr
    assert not canary.exists()


def test_a_link_to_another_file_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    """A shard of the variables could be any file of this machine, with its bytes in the model's answers."""
    copy = hostile_models.bundle_with(small_bundle, tmp_path / "copy", small_bundle / "models" / "mlp" / "1")
    shard = copy / "models" / "mlp" / "1" / "variables" / "variables.data-00000-of-00001"
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    bundle = Bundle.open(copy)
    with pytest.raises(UnsafeModelError, match="is a link that leads out of the model's folder"):
        refuse_unsafe(bundle, {"mlp": [1]})
    with pytest.raises(StatusError, match="leads out of the model's folder"):
        Server(copy).start()


def test_an_ordinary_bundle_is_not_affected(small_bundle: Path) -> None:
    assert not [problem for problem in Bundle.open(small_bundle).verify() if "more than compute" in problem.message]
    assert "unsafe" not in tfbundle("inspect", small_bundle).stdout
    refuse_unsafe(Bundle.open(small_bundle), {"mlp": [1]}, tflite=True)
