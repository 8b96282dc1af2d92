"""verify, inspect, render, init, smoke and doctor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bundler.cli.app import app
from bundler.validation.bundle import Bundle


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_verify_a_sound_bundle(copy: Path) -> None:
    text = run("verify", copy).stdout
    assert "is what was built" in text
    assert "1 SavedModel" in text
    assert json.loads(run("verify", copy, "--json", "--no-parity").stdout) == {"passed": True, "problems": []}


def test_verify_names_the_file_with_a_flipped_byte(copy: Path) -> None:
    file = copy / "models" / "mlp" / "1" / "variables" / "variables.index"
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    assert "models/mlp/1/variables/variables.index: changed" in run("verify", copy, code=1).stderr
    problems = json.loads(run("verify", copy, "--json", code=1).stdout)["problems"]
    assert [problem["path"] for problem in problems] == ["models/mlp/1/variables/variables.index"]


def test_verify_what_is_no_bundle(tmp_path: Path) -> None:
    assert "is not a bundle" in run("verify", tmp_path, code=1).stderr


def test_inspect_each_kind(copy: Path) -> None:
    text = run("inspect", copy).stdout
    assert "bundle small" in text
    assert "x=float32[batch,4]" in text
    saved = json.loads(run("inspect", copy / "models" / "mlp" / "1", "--json").stdout)
    assert saved["signatures"]["serving_default"]["inputs"] == [
        {"name": "x", "dtype": "float32", "dims": [None, 4]}
    ]
    assert saved["ops"]["MatMul"] == 2
    assert saved["details"]["warm_up"] is True
    assert saved["transposes"] == {"serving_default": 0}
    graph = json.loads(run("inspect", copy / "onnx" / "mlp" / "1.onnx", "--json").stdout)
    assert "transposes" not in graph
    assert (graph["kind"], graph["details"]["opset"], graph["ops"]) == ("onnx", 18, {"Gemm": 2, "Relu": 1})
    lite = json.loads(run("inspect", copy / "tflite" / "mlp" / "1" / "mlp-float32.tflite", "--json").stdout)
    assert lite["signatures"]["serving_default"]["inputs"] == [
        {"name": "x", "dtype": "float32", "dims": [1, 4]}
    ]
    assert lite["ops"]["FULLY_CONNECTED"] == 2
    assert "  in  x=float32[?,4]" in run("inspect", copy / "models" / "mlp" / "1").stdout
    assert "  in  x=float32[batch,4]" in run("inspect", copy / "onnx" / "mlp" / "1.onnx").stdout


def test_inspect_counts_transposes_by_signature(tmp_path: Path) -> None:
    """A convolution on channels-first pixels needs one; a second signature has its own count."""
    import numpy as np
    import onnx.parser

    from bundler.converters import load_converter

    weights = np.ones((4, 3, 1, 1), np.float32).tobytes()
    files = {}
    for name, ends in (("serving_default", "(float[N,3,8,8] x) => (float[N,4] y)"), ("rows", "(float[N,4] x) => (float[N,4] y)")):
        body = "{ c = Conv(x, w) r = Relu(c) g = GlobalMaxPool(r) y = Flatten(g) }" if name != "rows" else "{ y = Relu(x) }"
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> graph {ends} {body}')
        if name != "rows":
            model.graph.initializer.append(onnx.helper.make_tensor("w", 1, (4, 3, 1, 1), weights, raw=True))
        files[name] = tmp_path / f"{name}.onnx"
        onnx.save(model, str(files[name]))
    converter = load_converter("native")
    converter.convert({"serving_default": files["serving_default"]}).save(tmp_path / "one")
    converter.convert(files).save(tmp_path / "two")
    assert "transposes: 1\n" in run("inspect", tmp_path / "one").stdout
    assert "transposes: rows 0, serving_default 1\n" in run("inspect", tmp_path / "two").stdout
    both = json.loads(run("inspect", tmp_path / "two", "--json").stdout)["transposes"]
    assert both == {"rows": 0, "serving_default": 1}


def test_inspect_what_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "saved_model.pb").write_bytes(b"\xff\xff")
    (tmp_path / "text.txt").write_text("text")
    assert "does not exist" in run("inspect", tmp_path / "nothing", code=2).stderr
    assert "is not a bundle" in run("inspect", tmp_path / "text.txt", code=2).stderr
    for name in ("bad.tflite", "bad.onnx", "bad"):
        assert name in run("inspect", tmp_path / name, code=1).stderr


def test_render_again_with_an_edited_bundle_yaml(copy: Path, tmp_path: Path) -> None:
    (copy / "serving" / "README.md").write_text("mine")
    spec = tmp_path / "bundle.yaml"
    spec.write_text("serving: {rest_port: 9501, grpc_port: 9500}\nkubernetes: {replicas: 3}\n")
    result = run("render", copy, "--spec", spec)
    assert "README.md.orig" in result.stderr
    assert (copy / "serving" / "README.md.orig").read_text() == "mine"
    assert "9501" in (copy / "docker" / "compose.yaml").read_text()
    bundle = Bundle.open(copy)
    assert bundle.manifest.spec["kubernetes"]["replicas"] == 3
    assert [p for p in bundle.verify(parity=False) if p.serious] == []


def test_render_twice_changes_nothing_and_an_overlay_of_ones_own_stays(copy: Path) -> None:
    run("render", copy)
    own = copy / "k8s" / "overlays" / "staging" / "kustomization.yaml"
    own.parent.mkdir()
    own.write_text("resources: [../../base]\ncomponents: [../../components/gpu]\n")
    values = copy / "k8s" / "chart" / "values-staging.yaml"
    values.write_text("replicas: 4\n")
    parts = ("k8s", "docker", "serving", "smoke")
    before = {path: path.read_bytes() for part in parts for path in (copy / part).rglob("*") if path.is_file()}
    assert {own, values} <= set(before)
    assert run("render", copy).stderr == ""
    after = {path: path.read_bytes() for part in parts for path in (copy / part).rglob("*") if path.is_file()}
    assert after == before


def test_render_one_part_leaves_the_others(copy: Path) -> None:
    (copy / "k8s" / "README.md").write_text("mine")
    assert json.loads(run("render", copy, "docker", "--json").stdout)["rendered"] == ["docker"]
    assert (copy / "k8s" / "README.md").read_text() == "mine"
    assert "Unknown part 'helm'" in run("render", copy, "helm", code=2).stderr
    assert "is not a bundle" in run("render", copy / "models", code=1).stderr


def test_init_writes_what_build_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlp_onnx: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlp_onnx, tmp_path / "net.onnx")
    run("init", "--yes", "--source", "net.onnx", "--tflite", "float16")
    text = (tmp_path / "bundle.yaml").read_text()
    assert "# yaml-language-server: $schema=./bundle.schema.json" in text
    assert json.loads((tmp_path / "bundle.schema.json").read_text())["additionalProperties"] is False
    assert "exists already" in run("init", "--yes", code=2).stderr
    run("build", "bundle.yaml")
    assert list((tmp_path / "dist" / "net" / "tflite" / "net" / "1").iterdir())
    run("init", "--yes", "--force", "-o", "bundle.yaml")
    assert "model.py:make_model" in (tmp_path / "bundle.yaml").read_text()


def test_init_with_wrong_answers_writes_nothing(tmp_path: Path) -> None:
    assert "int4" in run("init", "--yes", "--tflite", "int4", "-o", tmp_path / "b.yaml", code=2).stderr
    assert list(tmp_path.iterdir()) == []
    schema = json.loads(run("init", "--schema").stdout)
    assert "models" in schema["properties"]


def test_smoke_against_nobody(copy: Path) -> None:
    result = run("smoke", "127.0.0.1:1", "--bundle", copy, "--timeout", "0.3", "--json", code=1)
    assert json.loads(result.stdout)["passed"] is False
    assert "nonsense" in run("smoke", "nonsense", "--bundle", copy, code=2).stderr


def test_doctor_looks_at_everything() -> None:
    report = json.loads(run("doctor", "--no-build", "--json").stdout)
    status = {finding["name"]: finding["status"] for finding in report["findings"]}
    assert report["ok"] is True
    assert {
        status[name] for name in ("python", "torch", "tensorflow", "onnx", "onnxruntime", "converters")
    } == {"ok"}
    assert "port 8500" in status
    assert "Everything that is needed works." in run("doctor", "--no-build").stdout
