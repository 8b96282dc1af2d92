"""A build with `optimize`: which forms take part, and that the chosen one is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bundler
from bundler.errors import UsageError
from bundler.spec.bundle_spec import ModelSpec
from bundler.validation import choice, contest
from serving import Client, Server
from serving.advise.forms import Candidate
from serving.advise.settings import Setting
from tests.serving.advise.advised import advice


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory, mlp_onnx: Path) -> bundler.Bundle:
    """Return a bundle of which int8 is too inaccurate, and model.tflite in float32 wins the measurement."""
    patch = pytest.MonkeyPatch()

    def wins(forms: Any, *_: object) -> Any:
        (fast,) = (form for form in forms if str(form) == "model.tflite float32")
        return advice(2.0, Candidate(fast, Setting(pools=2)))

    patch.setattr(choice, "advise", wins)
    patch.setattr(contest, "bfloat16_instructions", lambda: ())
    samples = tmp_path_factory.mktemp("samples")
    (samples / "samples.py").write_text(
        "import numpy as np\ndef draws():\n    return [{'x': np.full((1, 4), n / 8, np.float32)} for n in range(-8, 8)]\n"
    )
    try:
        return bundler.build(
            mlp_onnx, out=tmp_path_factory.mktemp("dist") / "mlp", optimize="throughput",
            calibration=f"{samples / 'samples.py'}:draws", min_sqnr=100,
        )  # fmt: skip
    finally:
        patch.undo()


@pytest.mark.slow
def test_the_winner_is_served_and_forms_below_their_gates_are_named(chosen: bundler.Bundle) -> None:
    record = chosen.record("mlp")["choice"]
    assert record["winner"] == "model.tflite float32" and record["goal"] == "throughput"
    assert record["left_out"]["SavedModel bfloat16"] == "this CPU has no instructions for bfloat16"
    assert "min_sqnr requires 100" in record["left_out"]["model.tflite int8"]
    assert "SavedModel is served" not in record["left_out"]["model.tflite int8"]
    (model,) = chosen.manifest.spec["models"]
    assert (model["fast_path"], model["optimize"]) == (True, None)
    assert any("model.tflite float32 is served, the best in throughput" in notice for notice in chosen.notices)
    assert not [problem for problem in chosen.verify() if problem.serious]
    assert "--prefer_tflite_model=true" in (chosen.path / "serving" / "README.md").read_text()
    report = (chosen.path / "report.html").read_text()
    assert "Choice of the form" in report and "Chosen by throughput: model.tflite float32." in report


@pytest.mark.slow
def test_both_forms_of_the_bundle_answer(chosen: bundler.Bundle) -> None:
    answers = []
    for prefers in (True, False):
        with Server(chosen.path, grpc_port=0, rest_port=None, prefer_tflite=prefers) as server:
            answers.append(Client(f"127.0.0.1:{server.grpc_port}").predict("mlp", {"x": [[1.0, 2.0, 3.0, 4.0]]})["y"])
    assert answers[0] == pytest.approx(answers[1], rel=1e-4)


@pytest.mark.slow
def test_the_forms_are_measured_with_real_servers(mlp_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SECONDS", 0.1)
    bundle = bundler.build(mlp_onnx, out=tmp_path / "mlp", optimize="size")
    rows = bundle.record("mlp")["choice"]["rows"]
    assert {row["form"] for row in rows} >= {"SavedModel float32", "model.tflite float32"}
    smallest = min(rows, key=lambda row: row["size_bytes"])
    assert bundle.record("mlp")["choice"]["winner"] == smallest["form"]
    assert not [problem for problem in bundle.verify() if problem.serious]


@pytest.mark.parametrize(("key", "value"), [("precision", "bfloat16"), ("fast_path", True)])
def test_what_optimize_chooses_must_not_be_given(key: str, value: object, mlp_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"optimize chooses precision and fast_path by measurement, so {key} cannot be given"):
        bundler.build(mlp_onnx, out=tmp_path / "b", optimize="latency", **{key: value})  # type: ignore[arg-type]


def test_a_wrong_goal_is_refused(mlp_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="optimize"):
        bundler.build(mlp_onnx, out=tmp_path / "b", optimize="speed")  # type: ignore[arg-type]


def test_the_goal_is_an_option_of_the_model() -> None:
    assert ModelSpec(name="m", source="m.py:make", optimize="size").optimize == "size"
