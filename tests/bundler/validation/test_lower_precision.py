"""Builds with `precision: bfloat16` and `serving.mixed_precision`: one that passes its gate, and others that do not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf

import bundler
from bundler.errors import VariantsError
from bundler.pipeline import build_bundle
from bundler.process import worker
from bundler.spec.bundle_spec import parse_spec
from bundler.validation import precision, precision_worker
from serving.golden.data import Golden
from serving.server.config.files import bundle_settings

RNG = np.random.default_rng(0)
LABELS = ["ant", "bee", "cat"]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the worker here, which spares the start of TensorFlow."""

    def run_module(module: str, arguments: Sequence[str], log: Path, *, timeout_s: float | None = None) -> int:
        return precision_worker.main(Path(arguments[0]))

    monkeypatch.setattr(worker, "run_module", run_module)
    monkeypatch.setattr(precision_worker, "ROUNDS", 3)


def difference(path: Path) -> Path:
    """Write a model whose output is lost in bfloat16: the small difference of two products."""
    first = RNG.standard_normal((64, 8)).astype(np.float32)
    second = first + 1e-2 * RNG.standard_normal((64, 8)).astype(np.float32)
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "first"], ["a"]),
            onnx.helper.make_node("MatMul", ["x", "second"], ["b"]),
            onnx.helper.make_node("Sub", ["a", "b"], ["y"]),
        ],
        "difference",
        [make("x", onnx.TensorProto.FLOAT, ["batch", 64])],
        [make("y", onnx.TensorProto.FLOAT, ["batch", 8])],
        [onnx.numpy_helper.from_array(first, "first"), onnx.numpy_helper.from_array(second, "second")],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def build(out: Path, *models: Path, **serving: Any) -> Any:
    entries = [{"name": file.stem, "source": str(file)} for file in models]
    return build_bundle(parse_spec({"models": entries, "serving": serving}, where="the test"), out, base=Path())


@pytest.mark.usefixtures("in_this_process")
def test_a_model_that_passes_its_gate_is_served_in_bfloat16(mlp_onnx: Path, tmp_path: Path) -> None:
    bundle = bundler.build(mlp_onnx, out=tmp_path / "out", precision="bfloat16", labels=LABELS)
    record = bundle.record("mlp")
    figures = record["precision"]
    assert figures["passed"] and figures["accuracy"]["outputs"]["y"]["sqnr_db"] > 30
    assert {(name, rows) for name, times in figures["latency_ms"].items() for rows in times} == {
        ("float32", "1"), ("float32", "8"), ("bfloat16", "1"), ("bfloat16", "8"),
    }  # fmt: skip
    assert [line["verdict"] for line in record["parity"]["summary"]] == ["passed", "passed", "passed", "passed", "reported"]
    assert record["graph"]["ops"]["Cast"] >= 2
    loaded = tf.saved_model.load(str(bundle.layout.version_dir("mlp", 1)))
    assert set(loaded.signatures) == {"serving_default", "classify"}
    golden = Golden.load(bundle.layout.golden_file("mlp", 1))
    assert 0.031 <= golden.tolerance < 0.3
    assert {case.signature for case in golden.cases} == {"serving_default", "classify"}
    assert bundle.verify() == []


@pytest.mark.usefixtures("in_this_process")
def test_a_model_that_fails_its_gate_is_served_in_float32(tmp_path: Path) -> None:
    with pytest.raises(VariantsError, match=r"SQNR against PyTorch is .* dB, and min_sqnr requires 15") as error:
        bundler.build(difference(tmp_path / "difference.onnx"), out=tmp_path / "out", precision="bfloat16")
    assert error.value.exit_code == 3 and "the float32 SavedModel is served" in error.value.what
    bundle: Any = error.value.bundle
    record = bundle.record("difference")
    assert not record["precision"]["passed"] and record["precision"]["below_gate"]
    assert "Cast" not in record["graph"]["ops"]
    assert Golden.load(bundle.layout.golden_file("difference", 1)).tolerance == 1e-4
    assert bundle.verify() == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_lower_limit_lets_the_same_model_pass(tmp_path: Path) -> None:
    file = difference(tmp_path / "difference.onnx")
    bundle = bundler.build(file, out=tmp_path / "out", precision="bfloat16", min_sqnr=1)
    assert bundle.record("difference")["precision"]["passed"]
    assert bundle.verify() == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_the_metric_of_an_evaluate_function_decides(mlp_onnx: Path, tmp_path: Path) -> None:
    metric = tmp_path / "metrics.py"
    text = "import numpy as np\ndef small(predict):\n    y = predict(x=np.full((3, 4), 0.3, np.float32))['y']\n"
    metric.write_text(f"{text}    return float(-np.abs(y).mean())\n", "utf-8")
    bundle = bundler.build(mlp_onnx, out=tmp_path / "out", precision="bfloat16", gate=f"{metric}:small", max_drop=0.5)
    figures = bundle.record("mlp")["precision"]
    assert figures["passed"] and figures["evaluation"]["floor"] < figures["evaluation"]["value"]


@pytest.mark.sample(2)
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("slower", [0.0, 1e9])
def test_the_flag_is_rendered_for_models_that_pass(
    slower: float, mlp_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "SLOWER", slower)
    out = tmp_path / "out"
    if slower:
        bundle = build(out, mlp_onnx, mixed_precision="bfloat16")
        assert bundle.verify() == []
    else:
        with pytest.raises(VariantsError, match="is slower here than in float32") as error:
            build(out, mlp_onnx, mixed_precision="bfloat16")
        assert error.value.exit_code == 1
    files = ("docker/Dockerfile", "serving/README.md", "k8s/base/deployment.yaml", "k8s/chart/values.yaml")
    for file in (*files, "k8s/kserve/servingruntime.yaml"):
        assert ("--mixed_precision=bfloat16" in (out / file).read_text("utf-8")) == bool(slower), file
    assert bundle_settings(out)["mixed_precision"] == ("bfloat16" if slower else "")
    record = json.loads((out / "bundle.json").read_bytes())["models"]["mlp"]["versions"]["1"]["mixed_precision"]
    assert record["passed"] == bool(slower) and record["dtype"] == "bfloat16"


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_the_flag_is_left_out_while_a_model_of_an_earlier_build_is_not_measured(
    mlp_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "SLOWER", 1e9)
    other = tmp_path / "other.onnx"
    other.write_bytes(mlp_onnx.read_bytes())
    build(tmp_path / "out", other)
    bundle = build(tmp_path / "out", mlp_onnx, mixed_precision="bfloat16")
    assert any("until these models are built again, to measure it: other" in notice for notice in bundle.notices)
    assert bundle_settings(tmp_path / "out")["mixed_precision"] == ""


@pytest.mark.slow
def test_both_forms_are_measured_in_a_process_of_their_own(mlp_onnx: Path, tmp_path: Path) -> None:
    bundle = bundler.build(mlp_onnx, out=tmp_path / "out", precision="bfloat16")
    assert bundle.record("mlp")["precision"]["latency_ms"]["bfloat16"]["8"] > 0
    assert bundle.verify() == []


@pytest.mark.slow
def test_a_crash_is_survived_and_the_float32_model_is_published(
    mlp_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_WORKER", "tests.bundler.validation.crashing_worker")
    with pytest.raises(VariantsError, match="cannot run on this machine: its process was ended by SIGILL") as error:
        bundler.build(mlp_onnx, out=tmp_path / "out", precision="bfloat16")
    assert error.value.exit_code == 1
    bundle: Any = error.value.bundle
    assert "Cast" not in bundle.record("mlp")["graph"]["ops"]
