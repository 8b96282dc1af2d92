"""tfbundle build --dry-run: its list, its exit codes, and that it writes nothing."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import Result

from tests.bundler.cli.commands import run

NETS = """
import torch
from torch import nn

class Odd(nn.Module):
    def forward(self, x):
        y = x.tanh()
        return torch.ops.dry_run.wobble(y, 3) + 1

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)

    def encode(self, x):
        return self.layer(x).relu()

@torch.library.custom_op("dry_run::wobble", mutates_args=())
def wobble(x: torch.Tensor, times: int) -> torch.Tensor:
    return x * times

@wobble.register_fake
def _(x, times):
    return torch.empty_like(x)

def odd():
    return Odd(), torch.zeros(2, 4)

def two():
    return Two(), torch.zeros(2, 4)
"""

WOBBLE = """
from bundler.ops import op

@op("Wobble", domain="mylib", torch="dry_run::wobble")
def wobble(x, *, times):
    {body}
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def dry_run(*arguments: object, code: int) -> Result:
    return run("build", *arguments, "--dry-run", code=code)


def broken_graph(folder: Path) -> Path:
    """Write a graph with two operators without a handler, an unknown one between them, and a rejected one in a branch."""
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    x, y, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in ("x", "y", "z"))
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["batch", 4])
    good = helper.make_graph([helper.make_node("Relu", ["x"], ["inner"], "good")], "then", [], [inner])
    bad = helper.make_graph([helper.make_node("Relu", ["x"], ["inner"], "bad", odd=1)], "else", [], [inner])
    nodes = [
        helper.make_node("Wobble", ["x"], ["h"], "one", domain="my.ops"),
        helper.make_node("Relu", ["h"], ["r"], "between"),
        helper.make_node("Wiggle", ["r"], ["y"], "two", domain="my.ops"),
        helper.make_node("If", ["flag"], ["z"], "branch", then_branch=good, else_branch=bad),
    ]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("my.ops", 1)]
    graph = helper.make_graph(nodes, "g", [x, flag], [y, z])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(folder / "odd.onnx"))
    return folder / "odd.onnx"


def test_operators_of_a_model_that_converts_are_listed(nets: Path, tmp_path: Path) -> None:
    result = dry_run(f"{nets}:two", "-o", tmp_path / "x", code=0)
    lines = result.stdout.splitlines()
    assert lines[0] == "nets, serving_default: 1 node, 1 kind of operator"
    assert lines[1].split() == ["operator", "nodes", "handler", "since", "layout", "fail"]
    assert lines[2].split()[:3] == ["ai.onnx::Gemm", "1", "bundler.converters.native.ops.matmul:gemm"]
    assert lines[-1] == "1 node: all would convert."
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == [
        "load the model", "export to ONNX", "check every operator",
    ]  # fmt: skip
    # but for Python's own cache of the file that was imported
    written = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert written == {"nets.py"}, "nothing was written"


def test_every_failing_node_is_listed(tmp_path: Path) -> None:
    out = dry_run(broken_graph(tmp_path), code=1).stdout
    assert "✗ my.ops::Wobble: There is no handler." in out
    assert "✗ my.ops::Wiggle: There is no handler." in out
    assert "✗ ai.onnx::Relu: Relu has the attribute 'odd', which ONNX does not define for it." in out
    assert "node 'bad' (Relu: float32[batch,4] -> float32[batch,4])" in out
    assert "Not checked, because they depend on these: 1 node (ai.onnx::Relu between)." in out
    assert out.splitlines()[-1] == "3 of 6 nodes would fail."


def test_json_has_the_same_content(tmp_path: Path) -> None:
    data = json.loads(dry_run(broken_graph(tmp_path), "--json", code=1).stdout)
    assert data["converts"] is False
    (one,) = data["signatures"]
    assert (one["model"], one["signature"], one["converts"]) == ("odd", "serving_default", False)
    assert [failure["operator"] for failure in one["failures"]] == [
        "my.ops::Wobble", "my.ops::Wiggle", "ai.onnx::Relu",
    ]  # fmt: skip
    relu = next(row for row in one["operators"] if row["name"] == "Relu")
    assert (relu["nodes"], relu["failing"], relu["since"]) == (3, 1, 1)
    wobble = next(row for row in one["operators"] if row["name"] == "Wobble")
    assert (wobble["domain"], wobble["handler"], wobble["failing"]) == ("my.ops", None, 1)
    assert one["unchecked"] == ["ai.onnx::Relu between"]


def test_a_handler_that_rejects_its_node_names_the_users_line(nets: Path, tmp_path: Path) -> None:
    handlers = tmp_path / "wobble_ops.py"
    handlers.write_text(WOBBLE.format(body="raise ValueError('times is 3')"))
    out = dry_run(f"{nets}:odd", "--ops", handlers, code=1).stdout
    assert "✗ mylib::Wobble: The handler wobble_ops.py:wobble of Wobble raised ValueError: times is 3" in out
    assert f"{handlers}:6" in out
    assert f"where: {nets}:8 in forward: return torch.ops.dry_run.wobble(y, 3) + 1" in out
    handlers.write_text(WOBBLE.format(body="return x * float(times)"))
    assert "wobble_ops.py:wobble" in dry_run(f"{nets}:odd", "--ops", handlers, code=0).stdout


def test_an_operator_that_torch_cannot_export_is_an_error_with_advice(
    nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = dry_run(f"{nets}:odd", code=1).stderr
    assert f"dry_run.wobble at {nets}:8" in error
    assert '@op(…, torch="dry_run::wobble") and --ops' in error


def test_every_model_and_signature_is_listed(nets: Path, mlp_onnx: Path, tmp_path: Path) -> None:
    two = "{name: two, source: nets.py:two, signatures: {embed: {method: encode}}}"
    spec = tmp_path / "bundle.yaml"
    spec.write_text(f"models:\n  - {two}\n  - {{name: mlp, source: {mlp_onnx}, layout: nhwc}}\n")
    data = json.loads(dry_run(spec, "--json", code=0).stdout)
    names = [(one["model"], one["signature"]) for one in data["signatures"]]
    assert names == [("two", "serving_default"), ("two", "embed"), ("mlp", "serving_default")]
    assert data["converts"] is True


@pytest.mark.slow
def test_a_thousand_nodes_take_less_than_five_seconds(tmp_path: Path) -> None:
    """Measured is the processor's time, so that other processes of the machine do not count."""
    names = ["x", *(f"v{index}" for index in range(999)), "y"]
    nodes = [
        helper.make_node(("Relu", "Tanh", "Wobble")[index % 3], [source], [target], domain="my.ops" if index % 3 == 2 else "")
        for index, (source, target) in enumerate(itertools.pairwise(names))
    ]
    every = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in names]
    graph = helper.make_graph(nodes, "g", every[:1], every[-1:], value_info=every[1:-1])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / "long.onnx"))
    start = time.process_time()
    (one,) = json.loads(dry_run(tmp_path / "long.onnx", "--json", code=1).stdout)["signatures"]
    assert time.process_time() - start < 5
    assert len(one["failures"]) == 333
    assert one["unchecked"] == [], "the file has every shape, so that zeros replace the missing values"


def test_ops_of_a_bundle_yaml_are_read_from_its_folder(nets: Path, tmp_path: Path) -> None:
    (tmp_path / "wobble_ops.py").write_text(WOBBLE.format(body="return x * float(times)"))
    spec = tmp_path / "bundle.yaml"
    spec.write_text("models:\n  - {name: odd, source: nets.py:odd, ops: [wobble_ops.py]}\n")
    dry_run(spec, code=0)
    spec.write_text("models:\n  - {name: odd, source: nets.py:odd, ops: wobble_ops.py}\n")
    assert "models.0.ops" in dry_run(spec, code=2).stderr


def test_wrong_use_is_an_error(nets: Path, mlp_onnx: Path, tmp_path: Path) -> None:
    assert "native" in dry_run(mlp_onnx, "--converter", "onnx-tf", code=2).stderr
    assert "nothing.onnx does not exist" in dry_run(tmp_path / "nothing.onnx", code=1).stderr
    assert "nothing.py does not exist" in dry_run(mlp_onnx, "--ops", tmp_path / "nothing.py", code=1).stderr
    (tmp_path / "noise.onnx").write_bytes(b"\xff\x00 no onnx" * 9)
    assert "noise.onnx" in dry_run(tmp_path / "noise.onnx", code=1).stderr
    (tmp_path / "bundle.yaml").write_text("models: []\n")
    assert "no model" in dry_run(tmp_path / "bundle.yaml", code=2).stderr
    assert "has no 'three'" in dry_run(f"{nets}:three", code=1).stderr
