"""FuseFakeQuantize fuses QuantizeLinear and DequantizeLinear into one operator, or gives a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.graph.fuse_fake_quantize import FuseFakeQuantize
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of

X = 3 * array(2, 3, 4, 5)


def quantized(**constants: Any) -> onnx.ModelProto:
    """x quantized with scale 0.02 and zero point 5, then dequantized with `s2` and `z2`."""
    values = {"s": np.float32(0.02), "z": np.uint8(5), "s2": np.float32(0.02), "z2": np.uint8(5), **constants}
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    nodes = [quantize, helper.make_node("DequantizeLinear", ["q", "s2", "z2"], ["y"])]
    return model_of(nodes, {"x": X}, ["y"], {name: np.asarray(value) for name, value in values.items()}, opset=21)


def fused(model: onnx.ModelProto) -> tuple[list[str], FuseFakeQuantize]:
    fusion = FuseFakeQuantize()
    return [node.op_type for node in fusion(ir.from_proto(model)).model.graph], fusion


@pytest.mark.parametrize("zero", [np.uint8(0), np.uint8(5), np.uint8(255), np.int8(-128), np.int8(0)], ids=repr)
def test_both_operators_become_one(zero: Any) -> None:
    model = quantized(z=zero, z2=zero)
    operators, fusion = fused(model)
    assert operators == ["FakeQuantize"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(model, {"x": X}, {"x": X[:1] * 100}, atol=1e-6)


DECLINED: list[tuple[dict[str, Any], str]] = [
    ({"s2": np.float32(0.03)}, "the same scale"),
    ({"z2": np.uint8(6)}, "the same zero point"),
    ({"s": np.full(3, 0.02, np.float32), "z": np.full(3, 5, np.uint8)}, "the same scale, a single number"),
    ({"z": np.int16(0), "z2": np.int16(0)}, "must be int8 or uint8"),
]


@pytest.mark.parametrize(("constants", "reason"), DECLINED, ids=[c[1] for c in DECLINED])
def test_declines_with_a_reason(constants: dict[str, Any], reason: str) -> None:
    model = quantized(**constants)
    operators, fusion = fused(model)
    assert operators == ["QuantizeLinear", "DequantizeLinear"]
    assert [reason in match.reason for match in fusion.declined] == [True]
    assert_agrees(model, {"x": X}, atol=1e-6)
