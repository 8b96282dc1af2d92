"""FoldScale replaces a factor per channel by scaled weights, or gives a reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.graph.fold_scale import FoldScale
from bundler.graph.fuse_linear import FuseLinear
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of


def convolution(factor: Array, outputs: Sequence[str] = ("y",), *, bias: bool = True) -> onnx.ModelProto:
    names = ["x", "w", "b"] if bias else ["x", "w"]
    nodes = [helper.make_node("Conv", names, ["c"], "conv"), helper.make_node("Mul", ["c", "f"], ["y"], "mul")]
    constants = {"w": array(3, 4, 2, 2, seed=1), "f": factor} | ({"b": array(3, seed=2)} if bias else {})
    return model_of(nodes, {"x": array(2, 4, 5, 6)}, outputs, constants)


def folded(model: onnx.ModelProto) -> tuple[list[str], FoldScale]:
    """Return the operators after the pass, and the pass."""
    fusion = FoldScale()
    graph = fusion(FuseLinear()(ir.from_proto(model)).model).model.graph
    return [node.op_type for node in graph], fusion


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 1, 1), (1,), ()], ids=str)
def test_factor_per_channel_is_folded_into_the_convolution(shape: tuple[int, ...], bias: bool) -> None:
    model = convolution(np.asarray(array(*shape, seed=3)), bias=bias)
    operators, fusion = folded(model)
    assert operators == ["Conv"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(model, {"x": array(2, 4, 5, 6)}, {"x": array(3, 4, 5, 6, seed=4)})


@pytest.mark.parametrize("bias", [True, False])
def test_factor_per_column_is_folded_into_the_product(bias: bool) -> None:
    product = [helper.make_node("MatMul", ["x", "w"], ["p"])]
    product += [helper.make_node("Add", ["p", "b"], ["l"])] if bias else []
    nodes = [*product, helper.make_node("Mul", ["gamma", "l" if bias else "p"], ["y"])]
    constants = {"w": array(4, 6, seed=1), "gamma": array(6, seed=3)} | ({"b": array(6, seed=2)} if bias else {})
    model = model_of(nodes, {"x": array(2, 5, 4)}, ["y"], constants)
    assert folded(model)[0] == ["Linear" if bias else "MatMul"]
    assert_agrees(model, {"x": array(2, 5, 4)})


DECLINED: list[tuple[str, Array, tuple[str, ...], str]] = [
    ("read elsewhere", array(3, 1, 1), ("y", "c"), "Other nodes"),
    ("by column", array(5), ("y",), "one per channel"),
    ("by pixel", array(4, 5), ("y",), "one per channel"),
]


@pytest.mark.parametrize(("factor", "outputs", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(factor: Array, outputs: tuple[str, ...], reason: str) -> None:
    model = convolution(factor, outputs)
    operators, fusion = folded(model)
    assert operators == ["Conv", "Mul"]
    assert [match.node for match in fusion.declined] == ["mul"]
    assert reason in fusion.declined[0].reason
    assert_agrees(model, {"x": array(2, 4, 5, 6)})


def test_shared_weight_is_not_changed_for_other_nodes() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Mul", ["p", "f"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
    ]  # fmt: skip
    inputs = {"x": array(2, 4)}
    assert_agrees(model_of(nodes, inputs, ["y"], {"w": array(4, 4, seed=1), "f": array(4, seed=2)}), inputs)
