"""torch.any and torch.all mean what PyTorch means, over nothing too, for booleans and for numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

import bundler
from bundler.graph.load import from_proto
from bundler.graph.reduce_booleans import ReduceBooleans
from tests.bundler.converters.native.oracle import assert_agrees, model_of


class Truths(torch.nn.Module):
    """any and all: over one axis, over two, over everything, and over an axis of size 0."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        reductions = (torch.any, torch.all)
        by_axis = [f(x, dim=0, keepdim=keep) for f in reductions for keep in (False, True)]
        whole = [result for f in reductions for result in (f(x, dim=(0, 1)), f(x), f(x[:, :0], dim=1))]
        return (*by_axis, *whole)


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64])
def test_any_and_all_over_nothing_answer_as_pytorch(tmp_path: Path, dtype: torch.dtype) -> None:
    example = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 1], [0, 1, 1, 1]]).to(dtype)
    program = torch.onnx.export(
        Truths().eval(), (example,), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    assert program is not None
    program.save(str(tmp_path / "truths.onnx"))
    converted = bundler.convert(tmp_path / "truths.onnx")
    for x in (example, example[:1], example[:0]):
        answers = converted(**{converted.signature.inputs[0].name: x.numpy()})
        for got, want in zip(answers.values(), Truths()(x), strict=True):
            assert got.dtype == want.numpy().dtype
            np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_a_model_of_another_origin_keeps_its_maximum_of_integers() -> None:
    """By ONNX's rule the maximum of no int64 is their lowest number, which is true."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=7),
        helper.make_node("ReduceMax", ["a", "axes"], ["b"], keepdims=0),
        helper.make_node("Cast", ["b"], ["y"], to=9),
    ]
    x = np.array([[True, False], [False, False]])
    model = model_of(nodes, {"x": x}, ["y"], {"axes": np.array([0])}, opset=20)
    assert not ReduceBooleans()(from_proto(model)).modified
    assert_agrees(model, {"x": x}, {"x": x[:1]})
    model.producer_name = "pytorch"
    assert ReduceBooleans()(from_proto(model)).modified
    assert_agrees(model, {"x": x}, {"x": x[:1]})
