"""Faults of builds of many models: kill -9 at any moment, dying workers, and what they must not leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundler.many.cache import Cache
from bundler.many.processes import ProcessEngine
from bundler.many.shards import Shard, build_shard, merge
from bundler.validation.bundle import Bundle
from tests.bundler.bundle.test_staging import assert_sound
from tests.bundler.many import toys
from tests.faults import killed_builds
from tests.requirements import require_package

SECONDS = 300


def start(file: Path, folder: Path) -> subprocess.Popen[str]:
    """Start a build whose stages run in one process, in a process group of its own."""
    command = [sys.executable, "-m", "tests.bundler.many.in_process", str(file), str(folder / "out"), str(folder / "cache")]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "SOURCE_DATE_EPOCH": killed_builds.EPOCH}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder, start_new_session=True)


def lines_until(process: subprocess.Popen[str], end: str) -> list[str]:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(end):
            break
    return lines


@pytest.mark.timeout(SECONDS)
def test_a_killed_build_resumes_and_ends_with_the_same_bytes(tmp_path: Path, mlp_onnx: Path) -> None:
    """A sample of the slow test: real but tiny models, in one process."""
    file = tmp_path / "bundle.yaml"
    file.write_text("models: [{source: '*.onnx'}]\n")
    for name in ("net000", "net001"):
        (tmp_path / f"{name}.onnx").write_bytes(mlp_onnx.read_bytes())
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
    with start(file, tmp_path / "alone") as process:
        assert lines_until(process, "published") == ["net000 False", "net001 False", "published"]
    with start(file, tmp_path / "killed") as process:
        assert lines_until(process, "net000") == ["net000 False"]
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed" / "out" / "bundle.json").exists()
    with start(file, tmp_path / "killed") as process:
        assert lines_until(process, "published") == ["net000 True", "net001 False", "published"]
    assert killed_builds.different(tmp_path / "alone" / "out", tmp_path / "killed" / "out") == []
    assert_sound(tmp_path / "killed" / "out")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("on", [None, "ray"], ids=["processes", "ray"])
@pytest.mark.parametrize(("models", "kills"), [(100, 20)])
def test_a_hundred_models_killed_twenty_times_end_with_the_same_bytes(
    models: int, kills: int, on: str | None, tmp_path: Path
) -> None:
    if on:
        require_package("ray", "pip install 'tfbundle[ray]'")
    assert killed_builds.run(tmp_path, models, kills, jobs=2, seed=0, on=on) == []


def test_a_worker_killed_inside_a_shard_is_replaced_and_the_shard_is_whole(
    tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(toys.BUNDLE_ENV, str(small_bundle))
    asked, said = toys.models(tmp_path, "a", "stumbles", "b", "dies"), list[str]()
    engine, cache = ProcessEngine(2, module="tests.bundler.many.toys"), Cache(tmp_path / "cache")
    shard, outcomes = build_shard(asked, Shard(1, 1), tmp_path / "shards", engine, cache, toys.hooks(said))
    assert sorted(said) == [f"{name}: its process was ended by SIGKILL; it is tried once more." for name in ("dies", "stumbles")]
    assert [outcome.error.code if outcome.error else "" for outcome in outcomes] == ["", "", "", "TFB5201"]
    shard.check()
    with pytest.raises(Exception, match="1 of 4 models failed"):
        merge([shard], tmp_path / "out", toys.hooks())
    assert Bundle.open(tmp_path / "out").models() == ["a", "stumbles", "b"]
    assert_sound(tmp_path / "out")
