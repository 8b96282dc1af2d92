"""tfbundle launch as a process: a real bundle with each runner, and the effect of signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.operations.launch import deployment, docker_settings
from bundler.render.parts import render_context
from bundler.validation.bundle import Bundle
from serving import Client
from tests.bundler.cli.test_serve import free_port
from tests.serving.launch.executables import fake_docker, model_server


def ports() -> list[str]:
    grpc = free_port()
    rest = next(port for port in iter(free_port, None) if port != grpc)
    return [f"--port={grpc}", f"--rest-port={rest}"]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment whose PATH begins with a folder of executables."""
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}


def tfbundle(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bundler", *map(str, arguments)]


@pytest.mark.parametrize("runner", ["embedded", *(pytest.param(name, marks=pytest.mark.slow) for name in ("docker", "binary"))])
def test_each_runner_serves_the_bundle_passes_the_smoke_test_and_cleans_up(
    runner: str, small_bundle: Path, tmp_path: Path
) -> None:
    fake_docker(tmp_path)
    model_server(tmp_path)
    command = tfbundle("launch", small_bundle, "--runner", runner, "--check", *ports())
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.splitlines()
    wanted = {"embedded": "-m bundler serve", "docker": "docker run --rm", "binary": "tensorflow_model_server --port="}
    assert wanted[runner] in first
    assert re.match(r"PASSED: \d+ passed against grpc://127.0.0.1:\d+ and http", rest[0])
    assert "mlp: version 1 AVAILABLE" in rest
    assert any(re.fullmatch(r"  REST  http://127.0.0.1:\d+/v1/models/mlp:predict", line) for line in rest)
    assert "server | " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_the_server_once_it_serves(number: signal.Signals, small_bundle: Path) -> None:
    arguments = ports()
    child = subprocess.Popen(
        tfbundle("launch", small_bundle, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout
    try:
        for line in child.stdout:
            if found := re.search(r"If this command is killed, clean up with: kill (\d+)", line):
                break
        else:
            pytest.fail("it never served")
        with Client(f"127.0.0.1:{arguments[0].partition('=')[2]}") as client:
            assert client.status("mlp")[0].available
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 0, err
    assert out.splitlines()[-1] == "Stopped."
    with pytest.raises(ProcessLookupError):
        os.kill(int(found[1]), 0)


@pytest.mark.slow
def test_a_signal_while_the_endpoints_are_shown_stops_the_server_like_one_after_it(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def interrupt(line: str, **_: object) -> None:
        said.append(line)
        if line.startswith("Ctrl-C stops it"):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("bundler.cli.launch.say", interrupt)
    result = CliRunner().invoke(app, ["launch", str(small_bundle), "--no-smoke", *ports()])
    assert result.exit_code == 0, result.output
    assert said[-1] == "Stopped."


def test_a_signal_before_the_server_is_ready_removes_the_container(small_bundle: Path, tmp_path: Path) -> None:
    docker = fake_docker(tmp_path)
    docker.misbehave("hangs")
    child = subprocess.Popen(
        tfbundle("launch", small_bundle, "--runner", "docker", *ports()),
        env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while "run" not in docker.verbs or not (docker.home / "container").exists():
            assert child.poll() is None, child.communicate()[1]
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 143
    assert docker.verbs[-1] == "rm"
    assert re.search(r"If anything is left, remove it with: docker rm -f tfbundle-small-\d+", err)
    assert "Terminated: the server was stopped and cleaned up." in err


@pytest.mark.slow
def test_the_death_of_the_server_is_reported(small_bundle: Path) -> None:
    child = subprocess.Popen(
        tfbundle("launch", small_bundle, *ports()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout
    for line in child.stdout:
        if found := re.search(r"killed, clean up with: kill (\d+)", line):
            os.kill(int(found[1]), signal.SIGKILL)
            break
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "error TFB6205: The server was ended by SIGKILL" in err


@pytest.mark.slow
def test_wrong_answers_fail_the_launch(small_bundle: Path, tmp_path: Path) -> None:
    """With the golden data of another model the server runs, the smoke test fails, and nothing is left running."""
    import numpy as np

    out = tmp_path / "small"
    shutil.copytree(small_bundle, out)
    path = out / "golden" / "mlp" / "1.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{k: v + 1 if "/out/" in k else v for k, v in arrays.items()})
    arguments = ports()
    done = subprocess.run(tfbundle("launch", out, *arguments), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "FAILED" in done.stdout
    assert re.search(r"If anything is left, remove it with: kill \d+", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--port=8500", "--rest-port=8500"], 2, "cannot both have port 8500"),
        (["--runner=binary", "--binary=no_such_server"], 1, "no no_such_server on this machine"),
        (["--host=203.0.113.7"], 2, "cannot listen on 203.0.113.7"),
    ],
)
def test_a_launch_that_cannot_work_is_an_error(arguments: list[str], code: int, words: str, small_bundle: Path) -> None:
    chosen = arguments if arguments[0].startswith("--port") else [*arguments, *ports()]
    result = CliRunner().invoke(app, ["launch", str(small_bundle), *chosen])
    assert result.exit_code == code, result.output
    assert words in result.output


def test_a_bundle_is_deployed_with_its_pinned_image_and_its_own_ports(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    context = render_context(bundle.name, bundle.manifest)
    to = deployment(bundle, context, host="127.0.0.1", grpc_port=None, rest_port=9501)
    assert (to.grpc_port, to.rest_port, to.versions) == (8500, 9501, {"mlp": (1,)})
    ports = ("--port=8500", "--rest_api_port=9501")
    assert to.flags("/c")[:4] == (*ports, "--rest_api_num_threads=64", "--model_config_file=/c/models.config")
    assert f'base_path: "{small_bundle}/models/mlp"' in to.configs(f"{small_bundle}/models")["models.config"]
    settings = docker_settings(context, image=None, user=None, memory="1g", cpus="")
    assert settings.image == bundle.manifest.spec["docker"]["image"] + ":" + bundle.manifest.spec["docker"]["tag"]
    assert settings.user == "10001:10001" if os.getuid() == 0 else settings.user == f"{os.getuid()}:{os.getgid()}"
