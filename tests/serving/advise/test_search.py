"""The search over forms and settings, with servers whose figures are chosen, and with real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.spec.bundle_spec import read_spec
from serving.advise import search
from serving.advise.forms import Accuracy, Form
from serving.advise.mix import RequestMix
from serving.advise.search import Plan, advise
from serving.bench.load import LoadFigures
from serving.errors import NotReadyError
from serving.launch.server_process import ServerEndpoints
from tests.serving.advise.advised import FAST, FLOAT32, INT8, REQUEST, figures

MIXED = replace(FLOAT32, mixed_precision=True)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Let servers have chosen figures: model.tflite is twice as fast, batching three times, and one interpreter slow."""
    flags_of: list[tuple[str, ...]] = []

    @contextmanager
    def server(source: Path, flags: Sequence[str] = ()) -> Iterator[ServerEndpoints]:
        if "--mixed_precision=bfloat16" in flags:
            raise NotReadyError("The embedded server did not start: Illegal instruction", code="TFB6205")
        flags_of.append(tuple(flags))
        yield ServerEndpoints(len(flags_of), 0, 0)

    def measured(targets: Sequence[str], requests: Any, loads: Sequence[Any], **_: object) -> list[LoadFigures]:
        results = []
        for load in loads:
            for target in targets:
                flags = flags_of[int(target.rpartition(":")[2]) - 1]
                rate = 100.0 * (2 if "--prefer_tflite_model=true" in flags else 1)
                rate *= 3 if "--enable_batching=true" in flags else 0.5 if "--num_tflite_pools=1" in flags else 1
                results.append(figures(rate, 100 / rate, clients=load.concurrency))
        return results

    monkeypatch.setattr("serving.advise.settings.cores", lambda: 2)
    monkeypatch.setattr(search, "server_process", server)
    monkeypatch.setattr(search, "measure", measured)
    return flags_of


def accurate(form: Form, target: str) -> Accuracy:
    return Accuracy(1e-6)


def test_the_best_form_is_tuned_and_one_that_does_not_run_is_left_out(started: list[tuple[str, ...]]) -> None:
    result = advise([FLOAT32, MIXED, FAST], RequestMix((REQUEST,)), Plan(64), accurate)
    assert result.best and result.best.form == FAST and result.best.setting.batching
    failed = [trial for trial in result.trials if trial.problem]
    assert [trial.candidate.form for trial in failed] == [MIXED] and "Illegal instruction" in failed[0].problem
    tuned = {trial.candidate.form for trial in result.trials if trial.candidate.setting.batching}
    assert tuned == {FAST}, "the other form reaches half of its requests/s"
    assert len({trial.candidate for trial in result.trials}) == len(result.trials)


def test_a_form_below_its_gate_is_not_loaded(started: list[tuple[str, ...]]) -> None:
    def judge(form: Form, target: str) -> Accuracy:
        return Accuracy(0.5, 9.0, "below its gate: output y" if form == INT8 else "")

    result = advise([FLOAT32, INT8], RequestMix((REQUEST,)), Plan(64, "size"), judge)
    assert [trial.problem for trial in result.trials if trial.candidate.form == INT8] == ["below its gate: output y"]
    assert result.best and result.best.form == FLOAT32 and result.best.setting.batching


def test_a_lone_client_gets_no_batches(started: list[tuple[str, ...]]) -> None:
    result = advise([FLOAT32, FAST], RequestMix((REQUEST,)), Plan(64, "latency"), accurate)
    assert result.best and result.best.form == FAST
    assert not [trial for trial in result.trials if trial.candidate.setting.batching]


def test_forms_alone_are_compared_without_tuning(started: list[tuple[str, ...]]) -> None:
    result = advise([FLOAT32, FAST], RequestMix((REQUEST,)), Plan(64, tunes=False), accurate)
    assert [str(trial.candidate) for trial in result.trials] == [
        "SavedModel float32, no flags", "SavedModel float32, intra 1", "model.tflite float32, interpreters 2"
    ]  # fmt: skip


def test_the_estimate_bounds_the_trials(started: list[tuple[str, ...]]) -> None:
    for goal in ("throughput", "latency", "size"):
        plan = Plan(64, goal)
        result = advise([FLOAT32, FAST], RequestMix((REQUEST,)), plan, accurate)
        assert len(result.trials) <= plan.most_trials(2)
    assert Plan(64, seconds=3).seconds_at_most(1, 4.0) == pytest.approx((11 + 1) * (8 + 4))


@pytest.mark.slow
def test_the_command_tries_forms_and_settings_and_prints_a_verdict(
    fast_bundle: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "bundle.yaml"
    spec.write_text("models: []  # none\n")
    command = ["bench", "--bundle", str(fast_bundle), "--advise", str(tmp_path / "tuned"), "--concurrency", "4"]
    plot = tmp_path / "front.svg"
    result = CliRunner().invoke(
        app, [*command, "--batch", "1,2", "--seconds", "0.2", "--update-spec", str(spec), "--plot", str(plot)]
    )
    assert result.exit_code == 0, result.output
    assert "1 or 2 rows per request" in result.stdout and "model.tflite float32, interpreters" in result.stdout
    assert "<svg" in plot.read_text()
    if (tmp_path / "tuned").exists():
        assert "times the requests/s of SavedModel float32 without flags" in result.stdout
        flags = (tmp_path / "tuned" / "server.flags").read_text().splitlines()
        assert [line for line in flags if line.startswith("--")]
        serving = read_spec(spec).serving
        assert serving.batching or serving.flags or serving.fast_path
        rendered = CliRunner().invoke(app, ["render", str(shutil.copytree(fast_bundle, tmp_path / "b")), "--spec", str(spec)])
        assert rendered.exit_code == 0, rendered.output
    else:
        assert "Nothing was written." in result.stdout
        assert spec.read_text() == "models: []  # none\n"


@pytest.mark.slow
def test_json_has_all_that_was_measured(fast_bundle: Path, tmp_path: Path) -> None:
    command = ["bench", "--bundle", str(fast_bundle), "--advise", str(tmp_path / "tuned"), "--concurrency", "1"]
    result = CliRunner().invoke(app, [*command, "--seconds", "0.1", "--goal", "size", "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    forms = {(trial["form"]["artifact"], trial["form"]["precision"]) for trial in data["trials"]}
    assert forms == {("SavedModel", "float32"), ("model.tflite", "float32")}
    assert data["goal"] == "size" and len(data["machine"]) == 2
    assert all(trial["accuracy"]["max_rel"] < 1e-4 for trial in data["trials"] if not trial["form"]["mixed_precision"])


@pytest.fixture(scope="module")
def fast_bundle(tmp_path_factory: pytest.TempPathFactory, mlp_onnx: Path) -> Path:
    """Return a bundle of a small model with a model.tflite."""
    import bundler

    out = tmp_path_factory.mktemp("fast") / "mlp"
    bundler.build(mlp_onnx, out=out, fast_path=True)
    return out


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1:1", "--advise", "x"]])
def test_the_command_needs_either_servers_or_advise(arguments: list[str], small_bundle: Path) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments, "--bundle", str(small_bundle)])
    assert result.exit_code == 2
    assert "Give the servers to measure, or --advise DIR" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["h:1", "--bundle", "a", "--bundle", "b"], "Several bundles are compared by --advise only"),
        (["--bundle", "a", "--advise", "x", "--goal", "speed"], "--goal must be one of throughput, latency, size, got 'speed'"),
        (["--bundle", "a", "--advise", "x", "--plot", "front.doc"], "A plot cannot be written as 'front.doc'"),
        (["--replay", "log", "--advise", "x"], "--advise needs --bundle and takes --replay"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 2 and message in result.output
