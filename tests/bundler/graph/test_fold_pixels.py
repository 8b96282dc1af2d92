"""Normalization within the first convolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundler.graph.fold_pixels import fold_pixels
from bundler.graph.normalize import normalize
from bundler.values.image_form import ImageForm

FORM = ImageForm("x", 1, (0, 2, 3, 1), (0.5, 0.25, 0.125), (1.0, 2.0, 3.0), is_reversed=True)
WEIGHT = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)


def model(inputs: tuple[str, ...] = ("x", "w"), *, again: bool = False, **attributes: Any) -> ir.Model:
    nodes = [helper.make_node("Conv", inputs, ["y"], "conv", **attributes)]
    nodes += [helper.make_node("Relu", ["x"], ["z"], "relu")] * again
    weights = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(np.float32([7, 9]), "b")]
    if attributes.get("group"):
        weights[0] = numpy_helper.from_array(np.ascontiguousarray(np.resize(WEIGHT, (3, 1, 3, 3))), "w")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ["y", "z"][: 1 + again]], weights,
    )  # fmt: skip
    return normalize(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)))


def constants(changed: ir.Model) -> list[Any]:
    (node,) = [node for node in changed.graph if node.op_type == "Conv"]
    return [value.const_value.numpy() for value in node.inputs[1:] if value is not None and value.const_value is not None]


def test_weights_contain_factor_and_order_and_the_bias_the_offset() -> None:
    before = model()
    changed, left = fold_pixels(before, FORM)
    weight, bias = constants(changed)
    np.testing.assert_allclose(weight, (WEIGHT * np.float32(FORM.factor).reshape(1, 3, 1, 1))[:, ::-1])
    np.testing.assert_allclose(bias, np.einsum("ochw,c->o", WEIGHT, np.float32(FORM.offset)))
    assert left.factor == (1.0, 1.0, 1.0) and left.offset == (0.0, 0.0, 0.0) and not left.is_reversed
    assert len(constants(before)) == 1 and np.array_equal(constants(before)[0], WEIGHT), "the model stays as it is"


def test_a_bias_is_kept() -> None:
    _, bias = constants(fold_pixels(model(("x", "w", "b")), FORM)[0])
    np.testing.assert_allclose(bias, np.einsum("ochw,c->o", WEIGHT, np.float32(FORM.offset)) + np.float32([7, 9]))


@pytest.mark.parametrize("attributes", [{"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER"}])
def test_the_offset_stays_in_front_of_padding(attributes: dict[str, Any]) -> None:
    changed, left = fold_pixels(model(**attributes), FORM)
    (weight,) = constants(changed)
    np.testing.assert_allclose(weight, (WEIGHT * np.float32(FORM.factor).reshape(1, 3, 1, 1))[:, ::-1])
    assert left.offset == (24.0, 8.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "form"),
    [({"again": True}, FORM), ({"group": 3}, FORM), ({}, replace(FORM, axis=3, order=None)), ({}, ImageForm("x", 1))],
)
def test_other_graphs_stay_as_they_are(changes: dict[str, Any], form: ImageForm) -> None:
    before = model(**changes)
    assert fold_pixels(before, form) == (before, form)
