"""PointwiseFirst moves a 1x1 convolution before a Resize, or gives a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.graph.pointwise_first import PointwiseFirst
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of

DOUBLED = np.array([1, 1, 2, 2], np.float32)


def enlarged(
    scales: Array = DOUBLED,
    kernel: int = 1,
    conv: dict[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    **attributes: Any,
) -> onnx.ModelProto:
    """x [batch, 4, 5, 6] -> Resize -> Conv to 3 channels."""
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["big"], "resize", **{"mode": "linear", **attributes}),
        helper.make_node("Conv", ["big", "w", "b"], ["y"], "conv", **(conv or {})),
    ]
    constants = {"scales": scales, "w": array(3, 4, kernel, kernel, seed=1), "b": array(3, seed=2)}
    return model_of(nodes, {"x": array(2, 4, 5, 6)}, outputs, constants)


def order_of(model: onnx.ModelProto) -> tuple[list[str], PointwiseFirst]:
    """Return the operators after the pass, and the pass."""
    fusion = PointwiseFirst()
    graph = fusion(ir.from_proto(model)).model.graph
    return [node.op_type for node in graph], fusion


SWAPPED: list[tuple[str, dict[str, Any]]] = [
    ("bilinear", {}),
    ("align corners", {"coordinate_transformation_mode": "align_corners"}),
    ("nearest", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("cubic", {"mode": "cubic"}),
    ("one axis larger, one smaller", {"scales": np.array([1, 1, 4, 0.5], np.float32)}),
    ("axes named", {"scales": np.array([2, 3], np.float32), "axes": [-2, -1]}),
]


@pytest.mark.parametrize("options", [case[1] for case in SWAPPED], ids=[case[0] for case in SWAPPED])
def test_convolution_comes_first_and_answers_stay(options: dict[str, Any]) -> None:
    model = enlarged(**options)
    operators, fusion = order_of(model)
    assert operators == ["Conv", "Resize"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(model, {"x": array(2, 4, 5, 6)}, {"x": array(3, 4, 5, 6, seed=3)})


DECLINED: list[tuple[str, dict[str, Any], str]] = [
    ("smaller", {"scales": np.array([1, 1, 0.5, 0.5], np.float32)}, "must enlarge"),
    ("channels too", {"scales": np.array([1, 1, 2, 2], np.float32), "axes": [0, 1, 2, 3], "outputs": ("y", "big")}, "Other"),
    ("fills in a value", {"coordinate_transformation_mode": "tf_crop_and_resize"}, "a weighted mean"),
]


@pytest.mark.parametrize(("options", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(options: dict[str, Any], reason: str) -> None:
    operators, fusion = order_of(enlarged(**options))
    assert operators == ["Resize", "Conv"]
    assert [match.node for match in fusion.declined] == ["conv"]
    assert reason in fusion.declined[0].reason


@pytest.mark.parametrize("options", [{"kernel": 3}, {"conv": {"strides": [2, 2]}}, {"conv": {"pads": [1, 1, 1, 1]}}])
def test_other_convolutions_are_not_candidates(options: dict[str, Any]) -> None:
    operators, fusion = order_of(enlarged(**options))
    assert operators == ["Resize", "Conv"]
    assert fusion.declined == []


def test_names_shapes_and_the_output_are_kept() -> None:
    graph = PointwiseFirst()(ir.from_proto(enlarged())).model.graph
    conv, resize = graph
    assert [o.name for o in graph.outputs] == ["y"]
    assert resize.outputs[0] is graph.outputs[0]
    assert conv.outputs[0].shape is not None
    assert [str(d) for d in conv.outputs[0].shape] == ["batch", "3", "5", "6"]
