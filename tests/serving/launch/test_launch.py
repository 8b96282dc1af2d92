"""The three runners: real servers in other processes, seen by a real client, and the errors if they do not start."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving import Client
from serving.errors import LaunchError, NotReadyError, TargetError
from serving.launch import (
    BinaryRunner,
    Deployment,
    DockerRunner,
    DockerSettings,
    EmbeddedRunner,
    Runner,
    launched,
    wait_for_end,
)
from serving.launch.runner import Process
from tests.serving.launch.executables import FakeDocker, model_server

Deploy = Callable[..., Deployment]
SECONDS = 60.0
IMAGE = "tensorflow/serving:2.19.1@sha256:" + "0" * 64


def in_docker(deployment: Deployment, docker: FakeDocker, **settings: str) -> DockerRunner:
    options = {"user": "10001:10001", **settings}
    return DockerRunner(deployment, DockerSettings(IMAGE, "/models", "/etc/tf-serving", docker=str(docker.path), **options))


def embedded(deployment: Deployment) -> EmbeddedRunner:
    """Serve the folder as if it were a bundle: `rows` has a policy in its models.config."""
    code = "import sys; from tests.serving.launch.served import main; main(sys.argv[1:])"
    return EmbeddedRunner(deployment, (sys.executable, "-c", code))


def scripted(deployment: Deployment, code: str) -> EmbeddedRunner:
    return EmbeddedRunner(deployment, (sys.executable, "-c", code))


def launch(runner: Runner, deployment: Deployment, seconds: float = SECONDS) -> None:
    with launched(runner, deployment, timeout=seconds, log=print):
        pass


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def versions_available(deployment: Deployment) -> list[int]:
    with Client(deployment.grpc_target) as client:
        return [state.version for state in client.status("rows") if state.available]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("kind", ["embedded", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("binary", "docker"))])
def test_every_version_is_available_in_the_block_and_nothing_remains_afterwards(
    kind: str, deploy: Deploy, docker: FakeDocker, tmp_path: Path
) -> None:
    deployment = deploy(1, 2)
    runners: dict[str, Callable[[], Runner]] = {
        "embedded": lambda: embedded(deployment),
        "binary": lambda: BinaryRunner(deployment, str(model_server(tmp_path))),
        "docker": lambda: in_docker(deployment, docker),
    }
    runner, lines = runners[kind](), list[str]()
    with launched(runner, deployment, timeout=SECONDS, log=lines.append):
        assert versions_available(deployment) == [1, 2]
        assert runner.ended() is None
        assert runner.by_hand
    assert is_free(deployment.grpc_port)
    assert is_free(deployment.rest_port)
    assert any("Running gRPC ModelServer" in line for line in lines), lines
    if kind == "binary":
        assert not Path(runner.by_hand.split("rm -rf ")[1]).exists()


@pytest.mark.slow
def test_docker_gets_these_arguments(deploy: Deploy, docker: FakeDocker, folder: Path) -> None:
    deployment = deploy(2)
    runner = in_docker(deployment, docker, memory="2g", cpus="1.5", user="1000:1000")
    with launched(runner, deployment, timeout=SECONDS, log=lambda line: None):
        pass
    name = f"tfbundle-rows-{deployment.grpc_port}"
    assert docker.verbs == ["version", "container inspect", "image inspect", "run", "stop", "rm"]
    assert docker.calls[3] == [
        "run", "--rm", "--init", "--name", name, "--user", "1000:1000",
        "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--memory", "2g", "--cpus", "1.5",
        "--publish", f"127.0.0.1:{deployment.grpc_port}:{deployment.grpc_port}",
        "--publish", f"127.0.0.1:{deployment.rest_port}:{deployment.rest_port}",
        "--mount", f"type=bind,source={folder}/models,target=/models,readonly",
        "--mount", f"type=bind,source={folder}/serving,target=/etc/tf-serving,readonly",
        "--entrypoint", "tensorflow_model_server", IMAGE, *deployment.flags("/etc/tf-serving"),
    ]  # fmt: skip
    assert docker.calls[4][0] == "stop"
    assert docker.calls[4][-1] == name
    assert docker.calls[5] == ["rm", "-f", name]
    assert list(runner.command) == [str(docker.path), *docker.calls[3]]


def test_a_missing_image_is_pulled(deploy: Deploy, docker: FakeDocker) -> None:
    (docker.home / "image").unlink()
    deployment, lines = deploy(1), list[str]()
    in_docker(deployment, docker).prepare(lines.append)
    assert docker.calls[-1] == ["pull", IMAGE]
    assert lines == [f"Status: Downloaded newer image for {IMAGE}"]
    (docker.home / "image").unlink()
    docker.misbehave("no-registry")
    with pytest.raises(LaunchError, match=r"cannot be pulled: .*no such host"):
        in_docker(deployment, docker).prepare(lines.append)


def test_a_missing_docker_or_a_silent_daemon_is_an_error(deploy: Deploy, docker: FakeDocker) -> None:
    deployment = deploy(1)
    nowhere = DockerRunner(deployment, DockerSettings(IMAGE, "/models", "/etc", "1:1", docker="/nowhere/docker"))
    with pytest.raises(LaunchError, match="no /nowhere/docker on this machine"):
        nowhere.prepare(print)
    nowhere.stop()
    docker.misbehave("daemon-down")
    with pytest.raises(LaunchError, match="daemon does not answer: Cannot connect"):
        launch(in_docker(deployment, docker), deployment)
    assert docker.verbs == ["version"]


def test_an_existing_container_of_the_same_name_is_not_touched(deploy: Deploy, docker: FakeDocker) -> None:
    deployment = deploy(1)
    (docker.home / "container").touch()
    with pytest.raises(LaunchError, match="A container named tfbundle-rows") as caught:
        launch(in_docker(deployment, docker), deployment)
    assert f"rm -f tfbundle-rows-{deployment.grpc_port}" in (caught.value.fix or "")
    assert "rm" not in docker.verbs
    assert (docker.home / "container").exists()


@pytest.mark.parametrize(
    ("mode", "words", "fix"),
    [
        ("exits", r"ended with exit code 255:\n  \| Failed to start server. Error: no such model", "the end of its log"),
        ("killed", "ended with exit code 137", "raise --memory"),
        ("cannot-start", "ended with exit code 125:.*\n.*driver failed", "Docker's own message"),
    ],
)
def test_a_container_that_ends_early_is_explained(mode: str, words: str, fix: str, deploy: Deploy, docker: FakeDocker) -> None:
    deployment = deploy(1)
    docker.misbehave(mode)
    with pytest.raises(LaunchError, match=words) as caught:
        launch(in_docker(deployment, docker), deployment)
    assert fix in (caught.value.fix or "")
    assert docker.verbs[-1] == "rm"


def test_a_container_that_is_never_ready_is_removed(deploy: Deploy, docker: FakeDocker) -> None:
    deployment = deploy(1)
    docker.misbehave("hangs")
    with pytest.raises(NotReadyError, match=r"was not ready within [01][.\d]* s: Cannot connect"):
        launch(in_docker(deployment, docker), deployment, 1.0)
    assert docker.verbs[-2:] == ["stop", "rm"]
    assert not (docker.home / "container").exists()


@pytest.mark.slow
def test_a_container_that_cannot_be_removed_is_reported(deploy: Deploy, docker: FakeDocker) -> None:
    deployment = deploy(1)
    docker.misbehave("cannot-remove")
    with pytest.raises(LaunchError, match=r"could not be removed: .*in progress") as caught:
        launch(in_docker(deployment, docker), deployment)
    assert caught.value.fix == f"{docker.path} rm -f tfbundle-rows-{deployment.grpc_port}"


@pytest.mark.parametrize("kind", ["gRPC", "REST"])
def test_a_port_in_use_is_reported_before_anything_is_started(kind: str, deploy: Deploy, docker: FakeDocker) -> None:
    deployment = deploy(1)
    port = deployment.grpc_port if kind == "gRPC" else deployment.rest_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(TargetError, match=f"Port {port} of 127.0.0.1, for {kind}, is in use"):
            launch(in_docker(deployment, docker), deployment)
    assert docker.calls == []


def test_a_missing_binary_is_an_error(deploy: Deploy) -> None:
    deployment = deploy(1)
    with pytest.raises(LaunchError, match="no no_such_server on this machine"):
        launch(BinaryRunner(deployment, "no_such_server"), deployment)


def test_config_files_of_another_launch_are_not_touched(deploy: Deploy, tmp_path: Path) -> None:
    deployment, binary = deploy(1), str(model_server(tmp_path))
    first = BinaryRunner(deployment, binary)
    first.prepare(print)
    try:
        second = BinaryRunner(deployment, binary)
        second.prepare(print)
        assert second.by_hand != first.by_hand, "the name of the folder cannot be predicted"
        assert Path(second.by_hand.split("rm -rf ")[1]).stat().st_mode & 0o777 == 0o700
        second.stop()
        assert not Path(second.by_hand.split("rm -rf ")[1]).exists()
        assert Path(first.by_hand.split("rm -rf ")[1]).is_dir()
    finally:
        first.stop()


def test_a_process_that_ends_early_shows_the_end_of_its_log(deploy: Deploy) -> None:
    deployment = deploy(1)
    runner = scripted(deployment, "print('one'); print('two'); raise SystemExit(3)")
    with pytest.raises(LaunchError, match=r"ended with exit code 3:\n  \| one\n  \| two"):
        launch(runner, deployment)


def test_a_process_that_ignores_sigterm_is_killed(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process.end, "__defaults__", (0.3,))
    deployment, lines = deploy(1), list[str]()
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    runner = scripted(deployment, code)
    runner.start(lines.append)
    while not lines:
        time.sleep(0.01)
    pid = int(runner.by_hand.removeprefix("kill "))
    runner.stop()
    assert gone(pid)
    assert "SIGKILL" in str(runner.ended())


def test_a_server_that_ends_later_is_reported(deploy: Deploy) -> None:
    runner = scripted(deploy(1), "import time; time.sleep(0.3); print('out of memory')")
    runner.start(print)
    assert "out of memory" in str(wait_for_end(runner))
    runner.stop()
    runner.stop()
