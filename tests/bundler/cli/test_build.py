"""tfbundle build: a build that works, and for every bad input one message, the right exit code and nothing published."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.cli.build import _variant_lines
from bundler.cli.comparisons import show_comparisons
from bundler.cli.target import Target
from bundler.errors import ComparisonError

NETS = """
import torch
from torch import nn

def make():
    return nn.Linear(4, 2), torch.zeros(2, 4)

def bare():
    return nn.Linear(4, 2)

def deep():
    return nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 20), nn.Tanh()), torch.ones(2, 4)

def raises():
    raise ValueError("no weights today")

def text():
    return "not a model"
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def build(*arguments: object, out: Path, code: int) -> str:
    """Run tfbundle build and return its whole output on one line."""
    result = CliRunner().invoke(app, ["build", *map(str, arguments), "-o", str(out)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code:
        assert not list(out.glob("models/*/*")) if out.is_dir() else True
        assert not list(out.glob(".staging-*")) if out.is_dir() else True
    return " ".join(result.output.split())


def test_a_build_prints_a_summary(mlp_onnx: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["build", str(mlp_onnx), "-o", str(tmp_path / "x"), "--name", "net"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("net version 1\n")
    assert f"tfbundle serve {tmp_path / 'x'}" in result.stdout
    assert "\nFixed dims: axis 1 of x is 4 (as the file states).\n" in result.stdout
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == ["net", "net"]
    assert len(lines) == 7, "one plain line per stage"


def test_json_output_can_be_parsed(mlp_onnx: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["build", str(mlp_onnx), "-o", str(tmp_path / "x"), "--json"])
    assert json.loads(result.stdout)["models"]["mlp"]["latest"] == 1


def test_paths_of_a_bundle_yaml_are_relative_to_its_folder(mlp_onnx: Path, tmp_path: Path) -> None:
    shutil.copy(mlp_onnx, tmp_path / "net.onnx")
    (tmp_path / "bundle.yaml").write_text("models:\n  - {name: net, source: net.onnx, tolerance: 1.0e-3}\n")
    build(tmp_path / "bundle.yaml", out=tmp_path / "x", code=0)
    assert (tmp_path / "x" / "models" / "net" / "1" / "saved_model.pb").is_file()


def test_a_build_says_which_dims_are_fixed_and_what_frees_them(nets: Path, tmp_path: Path) -> None:
    text = "models: [{name: net, source: nets.py:bare, inputs: ['input=float32[3,4]']}]"
    (tmp_path / "bundle.yaml").write_text(text)
    printed = build(tmp_path / "bundle.yaml", out=tmp_path / "x", code=0)
    dims = "axis 0 of input is 3 (as given), axis 1 of input is 4 (the model accepts no other size). To let them vary:"
    assert f"Fixed dims: {dims} inputs: ['input=float32[batch,4]'] Bundle:" in printed
    assert f"{dims} --input 'input=float32[batch,4]'" in html.unescape((tmp_path / "x" / "report.html").read_text())


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    out = tmp_path / "x"
    assert "nothing.py" in build(tmp_path / "nothing.py:make", out=out, code=1)
    assert "nothing.onnx" in build(tmp_path / "nothing.onnx", out=out, code=1)
    assert "nothing.yaml" in build(tmp_path / "nothing.yaml", out=out, code=2)
    assert "Unknown source" in build("what:ever", out=out, code=2)
    assert not out.exists()


def test_a_callable_that_returns_no_model_is_an_error(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    message = build(f"{nets}:nothing", out=out, code=1)
    assert "has no 'nothing'" in message
    assert "make" in message
    message = build(f"{nets}:raises", out=out, code=1)
    assert "no weights today" in message
    assert "nets.py:15" in message
    assert "returned str" in build(f"{nets}:text", out=out, code=1)


def test_inputs_that_do_not_fit_the_model_are_an_error(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    assert "float32[" in build(f"{nets}:bare", "--input", "input=float32[batch,5]", out=out, code=1)
    build(f"{nets}:bare", "--input", "input=int64[batch,4]", out=out, code=1)
    build(f"{nets}:make", "--input", "input=int64[batch,4]", out=out, code=2)
    assert "float99" in build(f"{nets}:bare", "--input", "input=float99[4]", out=out, code=2)
    assert "name=dtype[dims]" in build(f"{nets}:bare", "--input", "whatever", out=out, code=2)
    assert not out.exists()


def test_unknown_operators_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Wobble", ["x"], ["h"], "one", domain="my.ops"),
        helper.make_node("Wiggle", ["h"], ["y"], "two", domain="my.ops"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / "odd.onnx"))
    message = build(tmp_path / "odd.onnx", out=tmp_path / "x", code=1)
    assert "Wobble" in message
    assert not (tmp_path / "x").exists()


def test_broken_onnx_files_are_named(mlp_onnx: Path, tmp_path: Path) -> None:
    data = mlp_onnx.read_bytes()
    for name, content in {
        "cut": data[: len(data) // 2],
        "noise": b"\xff\x00 no onnx" * 9,
        "empty": b"",
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        assert name in build(path, out=tmp_path / "x", code=1)


def test_unknown_keys_of_a_bundle_yaml_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "bundle.yaml"
    file.write_text("models:\n  - {name: a, source: a.onnx, colour: red}\nservings: {}\n")
    message = build(file, out=tmp_path / "x", code=2)
    assert "unknown key 'colour'" in message
    assert "unknown key 'servings'; did you mean 'serving'?" in message
    assert f"2 problems in {file}: line 2, column 31: unknown key 'colour'" in message
    file.write_text("models: [")
    assert "not valid YAML" in build(file, out=tmp_path / "x", code=2)


@pytest.mark.parametrize("name", ["a/b", "..", "../a", "a..b", "/a"])
def test_a_name_that_is_not_a_folder_name_is_an_error(mlp_onnx: Path, tmp_path: Path, name: str) -> None:
    assert "model name" in build(mlp_onnx, "--name", name, out=tmp_path / "x", code=2)
    (tmp_path / "bundle.yaml").write_text(f"models:\n  - {{name: {name!r}, source: a.onnx}}\n")
    assert "model name" in build(tmp_path / "bundle.yaml", out=tmp_path / "x", code=2)
    assert not (tmp_path / "x").exists()


def test_an_existing_version_is_not_overwritten(small_bundle: Path, mlp_onnx: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "copy"))
    result = CliRunner().invoke(app, ["build", str(mlp_onnx), "-o", str(copy), "--version", "1"])
    assert result.exit_code == 1
    assert "Version 1 of model 'mlp' already exists" in result.stderr
    assert "--version 2" in result.stderr
    result = CliRunner().invoke(app, ["build", str(mlp_onnx), "-o", str(copy), "--version", "0"])
    assert result.exit_code == 2


def test_a_folder_that_cannot_be_written_is_an_error(mlp_onnx: Path, tmp_path: Path) -> None:
    """Root may write everywhere except under /proc and below a file."""
    (tmp_path / "file").write_text("x")
    for out in (Path("/proc/x"), tmp_path / "file", tmp_path / "file" / "below"):
        message = build(mlp_onnx, out=out, code=1)
        assert "cannot be written" in message
        assert "-o" in message


def test_failed_parity_exits_with_3(nets: Path, tmp_path: Path) -> None:
    message = build(f"{nets}:deep", "--tolerance", "1e-30", out=tmp_path / "x", code=3)
    assert "tolerance 1e-30" in message
    assert "where:" in message


def test_wrong_options_are_named(mlp_onnx: Path, nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    assert "int2" in build(mlp_onnx, "--tflite", "int2", out=out, code=2)
    assert "calibration" in build(mlp_onnx, "--tflite", "int8", out=out, code=2)
    assert "converter: 'none' is not one of native, onnx-tf" in build(mlp_onnx, "--converter", "none", out=out, code=2)
    assert "layout" in build(mlp_onnx, "--layout", "nwhc", out=out, code=2)
    assert "name=number" in build(mlp_onnx, "--dims", "seq", out=out, code=2)
    build(mlp_onnx, "--opset", "3", out=out, code=2)


METRICS = """
import numpy as np

CALLS = []

def third_fails(predict):
    CALLS.append(predict(input=np.ones((3, 4), np.float32))["output"].shape)
    if len(CALLS) == 3:
        raise KeyError("no label for picture 7")
    return 0.5

def unlabelled():
    for i in range(3):
        yield np.ones(4, np.float32), i
    yield np.ones(4, np.float32), None
"""


def published(*arguments: object, out: Path, code: int) -> tuple[str, dict[str, Any]]:
    """Run a build that publishes without some variants; return its output on one line and its record in bundle.json."""
    result = CliRunner().invoke(app, ["build", *map(str, arguments), "-o", str(out)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert not list(out.glob("**/.work-*"))
    (model,) = json.loads((out / "bundle.json").read_text())["models"].values()
    return " ".join(result.output.split()), model["versions"]["1"]


def test_a_variant_below_its_gate_is_not_published_and_the_build_exits_with_3(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    wanted = ("--tflite", "float32,float16", "--min-sqnr", "100")
    message, record = published(f"{nets}:deep", *wanted, out=out, code=3)
    assert "Published without these TFLite variants: nets: float16." in message
    assert "The float16 TFLite file is below its gate: output" in message
    assert "min_sqnr requires 100" in message
    assert [path.name for path in out.glob("tflite/nets/1/*")] == ["nets-float32.tflite"]
    assert set(record["tflite"]) == {"float32"}
    refused = record["tflite_refused"]["float16"]
    assert refused["below_gate"]
    assert "SQNR" in refused["reason"]
    assert 0 < refused["accuracy"]["outputs"]["output"]["sqnr_db"] < 100
    assert CliRunner().invoke(app, ["verify", str(out)]).exit_code == 0


@pytest.mark.slow
def test_without_any_variant_the_saved_model_is_published(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    _, record = published(f"{nets}:deep", "--tflite", "float16", "--min-sqnr", "100", out=out, code=3)
    assert record["tflite"] == {}
    assert not (out / "tflite" / "nets" / "1").exists()
    assert (out / "models" / "nets" / "1" / "saved_model.pb").is_file()
    assert CliRunner().invoke(app, ["verify", str(out)]).exit_code == 0


@pytest.mark.parametrize(
    ("function", "left_out", "reason"),
    [
        pytest.param(
            "third_fails", {"float16"}, "raised: KeyError: 'no label for picture 7' where:", marks=pytest.mark.slow
        ),
        pytest.param(
            "unlabelled", {"float32", "float16"}, "unlabelled item 3 has no label", marks=pytest.mark.slow
        ),
    ],
)
def test_an_evaluate_function_that_fails_rejects_the_variant(
    nets: Path, tmp_path: Path, function: str, left_out: set[str], reason: str
) -> None:
    (tmp_path / "metrics.py").write_text(METRICS)
    wanted = ("--tflite", "float32,float16", "--evaluate", f"{tmp_path}/metrics.py:{function}")
    message, record = published(f"{nets}:make", *wanted, out=tmp_path / "x", code=1)
    assert reason in message
    assert set(record["tflite_refused"]) == left_out
    assert set(record["tflite"]) == {"float32", "float16"} - left_out
    assert not record["tflite_refused"]["float16"]["below_gate"]


@pytest.mark.slow
def test_bad_calibration_data_rejects_only_the_variants_that_need_it(nets: Path, tmp_path: Path) -> None:
    samples = np.linspace(0, 1, 36, dtype=np.float32).reshape(9, 4)
    samples[5, 2] = np.nan
    np.savez(tmp_path / "s.npz", input=samples)
    wanted = ("--tflite", "int8,float16,int16x8", "--calibration", tmp_path / "s.npz")
    message, record = published(f"{nets}:make", *wanted, out=tmp_path / "x", code=1)
    assert "without these TFLite variants: nets: int8, int16x8." in message
    assert message.count("Calibration sample s.npz[5]: the input 'input' has values that are NaN or infinite.") == 1
    assert set(record["tflite"]) == {"float16"}


def test_random_calibration_data_needs_an_explicit_flag(nets: Path, tmp_path: Path) -> None:
    wanted = ("--tflite", "int8", "--calibration", "random")
    message = build(f"{nets}:deep", *wanted, out=tmp_path / "x", code=2)
    assert "--allow-random-calibration" in message


@pytest.mark.slow
def test_random_calibration_data_is_recorded(nets: Path, tmp_path: Path) -> None:
    wanted = ("--tflite", "int8", "--calibration", "random")
    message, record = published(f"{nets}:deep", *wanted, "--allow-random-calibration", out=tmp_path / "x", code=0)
    assert "the accuracy on real data is unknown" in message
    assert record["tflite"]["int8"]["calibration"]["samples"] == 32


def test_missing_files_are_reported_before_any_work(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    missing = ("--tflite", "int8", "--calibration", "absent.npz")
    assert "is not an .npz file, a folder" in build(f"{nets}:make", *missing, out=out, code=2)
    missing = ("--tflite", "float16", "--evaluate", "absent.py:accuracy")
    assert "The file absent.py does not exist" in build(f"{nets}:make", *missing, out=out, code=1)
    missing = ("--tflite", "float16", "--evaluate", "accuracy")
    assert "does not have the form module:function" in build(f"{nets}:make", *missing, out=out, code=2)


def test_report_that_cannot_be_written_stops_a_build_before_any_work(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    absent = tmp_path / "ab sent"
    message = build(f"{nets}:make", "--report", absent / "gate.html", out=out, code=2)
    assert "error TFB5001: The folder" in message and "for the report does not exist" in message
    assert f"`mkdir -p '{absent}'`" in message.replace("\n", " ")
    assert "is a folder." in build(f"{nets}:make", "--report", tmp_path, out=out, code=2)
    assert not out.exists()


def test_report_that_fails_after_a_refusal_does_not_hide_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = Target("dist", None, False, tmp_path / "gone" / "gate.html", in_file=False, as_json=False)
    show_comparisons(ComparisonError("worse", fix="improve it"), target)
    assert "gate.html was not written: No such file or directory." in capsys.readouterr().err.replace("\n", " ")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB: room for the locks, not for the model."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root; tests/bundler/bundle/test_staging.py limits the size of files instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_leaves_nothing(tiny_disk: Path, mlp_onnx: Path) -> None:
    message = build(mlp_onnx, out=tiny_disk / "x", code=1)
    assert "no space left" in message
    assert list(tiny_disk.iterdir()) == []


def test_handlers_that_cannot_be_used_are_an_error(mlp_onnx: Path, tmp_path: Path) -> None:
    """More of them in tests/bundler/converters/native/test_plugins.py."""
    out, handlers = tmp_path / "x", tmp_path / "my_ops.py"
    handlers.write_text("from bundler.ops import op\n\nop('Odd', domain='mylib'\n")
    message = build(mlp_onnx, "--ops", handlers, out=out, code=1)
    assert "my_ops.py cannot be imported: SyntaxError" in message
    assert f"{handlers}:3" in message
    assert "nothing.py does not exist" in build(mlp_onnx, "--ops", tmp_path / "nothing.py", out=out, code=1)
    handlers.write_text("from bundler.ops import op\n@op('Relu')\ndef relu(x): return x\n")
    message = build(mlp_onnx, "--ops", handlers, out=out, code=2)
    assert "my_ops.py:relu handles ai.onnx::Relu, which bundler." in message
    assert "override=True" in message
    message = build(mlp_onnx, "--ops", handlers, "--converter", "onnx-tf", out=out, code=2)
    assert "The converter onnx-tf does not support custom handlers" in message
    assert not out.exists()


def test_the_summary_says_once_that_files_take_pixels() -> None:
    record = {"tflite": {name: {"pixels": "image"} for name in ("float32", "int8")}}
    assert _variant_lines(record) == ["image: the files take pixels of 0 to 255, RGB or grey (tflite.images.fold)"]
