"""Finished graphs: unique names, some of the outputs, and weights in a file of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from bundler.export import finish
from bundler.export.stage import export
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec
from tests.bundler.exporting import BATCHES, Net, assert_same_answers, export_module


class Embedder(nn.Module):
    """A module with an output named `embedding`, which is also torch's name for the value of its embedding layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.table(ids).mean(1)}


def test_an_output_can_have_the_name_of_an_inner_value(tmp_path: Path) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    loaded = from_module(Embedder(), examples={"ids": ids}, provenance={})
    (exported,) = export(loaded, ModelSpec(name="m", source="m.py:make"), tmp_path)
    graph = onnx.load(exported.onnx).graph
    names = [name for node in graph.node for name in node.output]
    assert len(names) == len(set(names))
    session = onnxruntime.InferenceSession(str(exported.onnx), providers=["CPUExecutionProvider"])
    got = session.run(["embedding"], {"ids": ids.numpy()})[0]
    np.testing.assert_allclose(got, exported.reference({"ids": ids.numpy()})["embedding"], rtol=1e-5, atol=1e-6)


def test_the_weights_of_a_large_model_get_their_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "EXTERNAL_DATA", 10)
    (exported,) = export_module(Net(), tmp_path, torch.ones(2, 3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["serving_default.onnx", "serving_default.onnx.data"]
    assert assert_same_answers(exported) == BATCHES


def graph() -> ir.Model:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[2] x) => (float[2] a, float[2] x, float[2] a) { inner = Relu(x)  a = Neg(inner)  b = Abs(x) }"""
    return ir.from_proto(onnx.parser.parse_model(text))


def test_outputs_that_are_inputs_or_repeated_can_be_renamed() -> None:
    model = graph()
    finish.rename_outputs(model, ["inner", "same", "again"])
    assert [value.name for value in model.graph.outputs] == ["inner", "same", "again"]
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(names) == len(set(names)) and "inner_inner" in names
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_nodes_that_no_output_needs_are_removed() -> None:
    model = graph()
    finish.rename_outputs(model, ["first", "second", "third"])
    finish.keep_outputs(model, ["second"])
    assert [value.name for value in model.graph.outputs] == ["second"]
    assert [node.op_type for node in model.graph] == ["Identity"]


class HalfEnds(nn.Module):
    """Outputs of operators that torch computes in float32; one of them is also an operand."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        magnitude = torch.abs(x)
        return {"abs": magnitude, "sum": x.sum(), "twice": magnitude * 2}


@pytest.mark.sample(2)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_outputs_keep_the_half_precision_of_the_model(dtype: torch.dtype, tmp_path: Path) -> None:
    name = str(dtype).removeprefix("torch.")
    x = torch.tensor([[1.5, -2.0, 0.25]], dtype=dtype)
    exported = export_module(HalfEnds(), tmp_path, (x,), (f"x={name}[n,3]",))[0]
    graph = ir.load(exported.onnx).graph
    assert {str(value.dtype).lower() for value in graph.outputs} == {name}
    assert [value.name for value in graph.outputs] == ["abs", "sum", "twice"]
    onnx.checker.check_model(onnx.load(exported.onnx), full_check=True)
    if dtype is torch.float16:  # ONNX Runtime has few kernels for bfloat16
        assert_same_answers(exported, tolerance=1e-2)
