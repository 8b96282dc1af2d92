"""FuseLinear fuses a product and its bias, or gives a reason."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.graph.fuse_linear import FuseLinear
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of


def product_and_sum(bias: Array, *, outputs: tuple[str, ...] = ("y",), swapped: bool = False) -> onnx.ModelProto:
    """x [batch, 5, 4] @ w [4, 6] + b."""
    operands = ["b", "p"] if swapped else ["p", "b"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], "product"), helper.make_node("Add", operands, ["y"], "sum")]
    return model_of(nodes, {"x": array(2, 5, 4)}, outputs, {"w": array(4, 6, seed=1), "b": bias})


def fused(model: onnx.ModelProto) -> tuple[list[str], FuseLinear]:
    """Return the operators after the pass, and the pass."""
    fusion = FuseLinear()
    return [node.op_type for node in fusion(ir.from_proto(model)).model.graph], fusion


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", [(6,), (1, 6), (1, 1, 6)], ids=str)
def test_product_and_bias_become_one_linear(shape: tuple[int, ...], swapped: bool) -> None:
    model = product_and_sum(array(*shape, seed=2), swapped=swapped)
    operators, fusion = fused(model)
    assert operators == ["Linear"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(model, {"x": array(2, 5, 4)}, {"x": array(3, 5, 4, seed=5)})


DECLINED: list[tuple[str, Array, tuple[str, ...], str]] = [
    ("read elsewhere", array(6), ("y", "p"), "Other nodes"),
    ("a number", array(1), ("y",), "a vector of 6 numbers"),
    ("by row", array(5, 1), ("y",), "a vector of 6 numbers"),
    ("of a higher rank", array(1, 1, 1, 6), ("y",), "a vector of 6 numbers"),
]


@pytest.mark.parametrize(("bias", "outputs", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(bias: Array, outputs: tuple[str, ...], reason: str) -> None:
    model = product_and_sum(bias, outputs=outputs)
    operators, fusion = fused(model)
    assert operators == ["MatMul", "Add"]
    assert [(match.node, reason in match.reason) for match in fusion.declined] == [("product", True)]
    assert_agrees(model, {"x": array(2, 5, 4)})


def test_declines_a_computed_bias() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    inputs = {"x": array(2, 5, 4), "b": array(2, 1, 6)}
    operators, fusion = fused(model_of(nodes, inputs, ["y"], {"w": array(4, 6, seed=1)}))
    assert operators == ["MatMul", "Add"]
    assert "must be constant" in fusion.declined[0].reason
