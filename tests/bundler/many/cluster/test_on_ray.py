"""tfbundle build --on: real clusters on this machine, whose nodes and processes are killed while models are built.

A process of its own runs each build, as a user's does: Ray's client keeps state in the process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundler.many.cluster.ray_cluster import HIDDEN, RayCluster, ray_cluster
from tests.requirements import require_package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

require_package("ray", "pip install 'tfbundle[ray]'")

ROOT = Path(__file__).resolve().parents[4]
MODEL = """
import os, pathlib, signal, time
import numpy, torch

def net():
    return torch.nn.Linear(4, 3), torch.zeros(1, 4)

def waits():  # until the test lets it go on
    pathlib.Path({marks!r}, f"began-{{os.getpid()}}").touch()
    while not pathlib.Path({marks!r}, "go").exists():
        time.sleep(0.1)
    return net()

def stumbles():  # its process is killed the first time
    mark = pathlib.Path({marks!r}, "stumbled")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return net()

def dies():
    os.kill(os.getpid(), signal.SIGKILL)

def fails():
    raise ValueError("the weights are gone")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with model.py; `marks` beside it is where its functions leave marks."""
    (tmp_path / "marks").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "model.py").write_text(MODEL.format(marks=str(tmp_path / "marks")))
    return tmp_path / "project"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A cluster of two nodes that no test kills."""
    with ray_cluster(tmp_path_factory.mktemp("cluster"), 2) as running:
        yield running


def spec(project: Path, *functions: str) -> Path:
    models = [{"name": name, "source": f"model.py:{name.rstrip('0123456789')}"} for name in functions]
    (project / "bundle.yaml").write_text(json.dumps({"models": models}))
    return project / "bundle.yaml"


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    given = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1", **variables}
    return {**kept, **{name: value for name, value in given.items() if value}}


def command(project: Path, address: str, *more: str) -> list[str]:
    out, cache = project.parent / "out", project.parent / "cache"
    return [sys.executable, "-m", "bundler", "build", str(project / "bundle.yaml"), "--on", address, "-o", str(out),
            "--cache", str(cache), *more]  # fmt: skip


def build(project: Path, address: str, *more: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(project, address, *more), capture_output=True, text=True, env=environment(**variables))
    assert done.returncode == code, done.stdout + done.stderr
    assert_clean(done.stdout + done.stderr)
    return done


def assert_clean(text: str) -> None:
    """Check that neither a traceback nor Ray's own log is shown."""
    assert "Traceback" not in text
    assert not re.search(r"\(raylet\)|\(pid=|INFO |WARNING |core_worker|ray status --", text), text


@pytest.fixture
def begun(project: Path) -> Iterator[subprocess.Popen[str]]:
    """Nothing yet: tests start a build with `begin`, and this ends it."""
    started: list[subprocess.Popen[str]] = []
    yield started  # type: ignore[misc]
    for process in started:
        process.kill()
        process.wait()


def begin(project: Path, address: str, begun: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Start a build, and return when its model `waits` has begun."""
    with (project.parent / "log").open("w") as log:
        process = subprocess.Popen(command(project, address), stdout=log, stderr=subprocess.STDOUT, text=True, env=environment())
    begun.append(process)
    wait_for(lambda: bool(marks(project)), process)
    return process


def marks(project: Path) -> list[int]:
    """Return the processes in which the model `waits` has begun."""
    return [int(path.name.rpartition("-")[2]) for path in (project.parent / "marks").glob("began-*")]


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None and time.monotonic() < deadline, "it ended, or nothing happened"
        time.sleep(0.2)


def end(process: subprocess.Popen[str], project: Path, seconds: float = 300) -> tuple[int, str]:
    """Wait for a build, and return its exit code and what it has said."""
    process.wait(seconds)
    text = (project.parent / "log").read_text()
    assert_clean(text)
    return process.returncode, text


def artifacts(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted((out / "models").rglob("*")) if path.is_file()}


def test_models_are_built_and_come_from_the_cache_the_next_time(cluster: RayCluster, project: Path, tmp_path: Path) -> None:
    spec(project, "net0", "stumbles", "fails", "dies", "net1")
    first = build(project, cluster.address, code=1)
    assert "Building on 2 nodes of the Ray cluster" in first.stderr
    assert "stumbles: its process crashed, or was killed; it is tried once more." in first.stderr
    assert "2 of 5 models failed; the others were published" in first.stderr
    assert "fails: model.py:fails raised: ValueError: the weights are gone [TFB2004]" in first.stderr
    assert "The process that built dies died 2 times" in first.stderr
    assert {name.split("/")[1] for name in artifacts(tmp_path / "out")} == {"net0", "net1", "stumbles"}
    spec(project, "net0", "stumbles", "net1")
    rows = json.loads(build(project, cluster.address, "--json").stdout)["build"]
    assert {row["outcome"] for row in rows} == {"cached"}


def test_a_node_that_vanishes_is_replaced_by_another(project: Path, tmp_path: Path, begun: list[subprocess.Popen[str]]) -> None:
    spec(project, "waits")
    with ray_cluster(tmp_path, 1) as cluster:
        process = begin(project, cluster.address, begun)
        cluster.tell("kill 0")
        cluster.tell("add")
        (tmp_path / "marks" / "go").touch()
        code, text = end(process, project)
    assert code == 0, text
    assert "waits: the node it was built on has vanished; it is built on another one." in text


def test_a_cluster_that_vanishes_ends_the_build_with_one_message(
    project: Path, tmp_path: Path, begun: list[subprocess.Popen[str]]
) -> None:
    spec(project, "waits", "net")
    with ray_cluster(tmp_path, 1) as cluster:
        process = begin(project, cluster.address, begun)
        cluster.tell("head")
        code, text = end(process, project)
    assert code == 1
    assert text.count("error TFB5255") == 1 and "does not answer any more" in text
    assert not (tmp_path / "out" / "bundle.json").exists()


def test_ctrl_c_ends_the_tasks(cluster: RayCluster, project: Path, begun: list[subprocess.Popen[str]]) -> None:
    spec(project, "waits")
    process = begin(project, cluster.address, begun)
    (task,) = marks(project)
    process.send_signal(signal.SIGINT)
    code, text = end(process, project)
    assert code == 130, text
    assert "nothing was published" in text
    deadline = time.monotonic() + 60
    while Path(f"/proc/{task}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_node_without_tfbundle_is_named(project: Path, tmp_path: Path) -> None:
    spec(project, "net")
    with ray_cluster(tmp_path, 1, **{HIDDEN: "1"}) as cluster:
        text = build(project, cluster.address, code=1).stderr
    reason = r"(tfbundle is not installed there|its tfbundle \S+ cannot be used: No module named 'bundler)"
    assert re.search(rf"error TFB5253: The node \S+ of the Ray cluster cannot build: {reason}", text), text


def test_a_cluster_that_needs_a_token_is_told(project: Path, tmp_path: Path) -> None:
    spec(project, "net")
    token = "0" * 64
    with ray_cluster(tmp_path, 1, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token) as cluster:
        text = build(project, cluster.address, code=1, RAY_AUTH_MODE="disabled").stderr
        assert "does not take the connection" in text and "set RAY_AUTH_TOKEN" in text
        build(project, cluster.address, RAY_AUTH_MODE="", RAY_AUTH_TOKEN=token)


def test_a_cluster_of_this_machine_leaves_nothing_behind(project: Path, tmp_path: Path) -> None:
    spec(project, "net")
    temporary = tmp_path / "t"
    temporary.mkdir()
    build(project, "ray", "--jobs", "1", TMPDIR=str(temporary))
    assert not list(temporary.glob("tfb-*"))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(temporary) not in running
