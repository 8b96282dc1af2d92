"""ONNX files: new names, some of the outputs, and their own opset."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from bundler.errors import ExportError, UsageError
from bundler.export.stage import export
from bundler.sources import load
from bundler.spec.bundle_spec import ModelSpec
from tests.bundler.exporting import BATCHES, Answers, Net, assert_same_answers, export_module, signature_text


def test_the_outputs_of_an_onnx_file_can_be_renamed_and_selected(tmp_path: Path) -> None:
    (made,) = export_module(Answers("tuple"), tmp_path, torch.ones(2, 3))
    work = tmp_path / "work"
    work.mkdir()
    spec = ModelSpec(
        name="m", source=str(made.onnx), outputs=("plus", "x_sum"), signatures={"s": {"outputs": ["x_sum"]}}
    )
    default, only = export(load(spec, base=tmp_path), spec, work)
    assert signature_text(default) == "x=float32[batch,3] -> plus=float32[batch,3] x_sum=float32[batch]"
    assert signature_text(only) == "x=float32[batch,3] -> x_sum=float32[batch]"
    for exported in (default, only):
        assert assert_same_answers(exported, tolerance=0) == BATCHES


def test_another_opset_than_that_of_the_file_is_refused(tmp_path: Path) -> None:
    (made,) = export_module(Net(), tmp_path, torch.ones(2, 3))
    spec = ModelSpec(name="m", source=str(made.onnx), opset=18)
    loaded = load(spec, base=tmp_path)
    with pytest.raises(UsageError, match="--opset 18 does not apply"):
        export(loaded, spec, tmp_path)
    with pytest.raises(ExportError, match="reads ONNX up to opset 15"):
        export(loaded, spec.model_copy(update={"opset": None}), tmp_path, max_opset=15)


def test_an_output_that_the_file_lists_twice_is_one_output(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("x", "a", "b")]
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])]
    graph = helper.make_graph(nodes, "g", values[:1], [values[1], values[2], values[1]])
    path = tmp_path / "twice.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    spec = ModelSpec(name="m", source=str(path))
    (exported,) = export(load(spec, base=tmp_path), spec, tmp_path)
    assert signature_text(exported) == "x=float32[2,3] -> a=float32[2,3] b=float32[2,3]"
