"""tfbundle build with --jobs, --cache, --shard and several files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.operations.many import ManyOptions
from bundler.validation.bundle import Bundle
from tests.bundler.cli.commands import run
from tests.bundler.many.toys import ToyEngine, render_only_the_report, unit


@pytest.fixture
def engine(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyEngine:
    """Let builds run on an engine that copies artifacts, with a cache of their own, in an empty folder."""
    render_only_the_report(monkeypatch)
    made = ToyEngine(small_bundle)
    monkeypatch.setattr(ManyOptions, "engine", lambda options: made)
    monkeypatch.setenv("TFBUNDLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return made


def spec_file(folder: Path, *names: str, text: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        unit(0, name, folder)
    path = folder / "bundle.yaml"
    path.write_text(f"models: [{{source: '*.onnx'}}]\n{text}")
    return path


def test_models_of_a_pattern_are_built_and_then_cached(engine: ToyEngine, tmp_path: Path) -> None:
    file = spec_file(tmp_path / "nets", "a", "b")
    first = run("build", file, "--jobs", 2, "-o", "one")
    assert "2 models: 2 built, 0 from the cache, 0 failed" in first.stdout
    assert "[2/2] b: built in 0.0 s" in first.stderr
    again = json.loads(run("build", file, "--jobs", 2, "-o", "two", "--json", "--report", "copy.html").stdout)
    assert [row["outcome"] for row in again["build"]] == ["cached", "cached"]
    assert Path("copy.html").read_bytes() == Path("two/report.html").read_bytes()


def test_a_failure_has_its_exit_code_and_a_line(engine: ToyEngine, tmp_path: Path) -> None:
    file = spec_file(tmp_path / "nets", "a", "fails")
    result = run("build", file, "--jobs", 1, "-o", "out", code=3)
    assert "2 models: 1 built, 0 from the cache, 1 failed" in result.stdout
    assert "[2/2] fails: failed after 0.0 s: It differs. [TFB3401]" in result.stderr
    assert "error TFB5205: 1 of 2 models failed; the others were published:" in result.stderr
    assert Bundle.open("out").models() == ["a"]
    data = json.loads(run("build", file, "--jobs", 1, "-o", "json", "--json", code=3).stdout)
    assert data["build"][1] == {"model": "fails", "outcome": "failed", "seconds": 0.0, "error": "It differs.", "code": "TFB3401"}


def test_several_files_become_one_bundle(engine: ToyEngine, tmp_path: Path) -> None:
    text = "serving: {batching: true}\n"
    for folder, name in (("one", "a"), ("two", "b")):
        spec_file(tmp_path / folder, name, text=text)
    run("build", "*/bundle.yaml", "-o", "out")
    bundle = Bundle.open("out")
    assert bundle.models() == ["a", "b"] and bundle.manifest.spec["serving"]["batching"]
    assert [model["source"] for model in bundle.manifest.spec["models"]] == ["a.onnx", "b.onnx"]


def test_files_that_contradict_each_other_are_refused(engine: ToyEngine, tmp_path: Path) -> None:
    one, two = spec_file(tmp_path / "one", "a"), spec_file(tmp_path / "two", "a")
    assert "Two bundle.yaml files have a model 'a'" in run("build", one, two, code=2).stderr
    assert "Several sources have to be bundle.yaml files" in run("build", one, "m.onnx", code=2).stderr
    assert "--adopt cannot be combined" in run("build", one, "--jobs", 2, "--adopt", code=2).stderr
    assert not engine.built


def test_shards_are_built_and_merged(engine: ToyEngine, tmp_path: Path) -> None:
    file = spec_file(tmp_path / "nets", "a", "b", "fails")
    result = run("build", file, "--shard", "1/2", "-o", "shards", code=3)
    assert "Shard 1/2: shards/shard-1-of-2" in result.stdout and "2 models: 1 built" in result.stdout
    data = json.loads(run("build", file, "--shard", "2/2", "-o", "shards", "--json").stdout)
    assert (data["shard"], data["written"]) == ("2/2", "shards/shard-2-of-2")
    run("merge", "shards", "-o", "out", code=3)
    assert Bundle.open("out").models() == ["a", "b"]


def test_one_model_is_taken_from_the_cache_as_well(engine: ToyEngine, tmp_path: Path) -> None:
    unit(0, "a", tmp_path)
    for folder in ("one", "two"):
        run("build", "a.onnx", "--cache", "kept", "-o", folder)
    assert engine.built == ["a"] and Path("kept/entries").is_dir()
