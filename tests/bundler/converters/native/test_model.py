"""The converted model: signatures over shared variables, and shapes for TFLite."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from bundler.converters.native.model import NativeModel, run_eagerly
from bundler.errors import ConversionError
from bundler.graph.load import from_proto
from bundler.graph.normalize import normalize
from tests.bundler.converters.native.oracle import array, model_of, native


def test_a_weight_of_two_signatures_is_one_variable() -> None:

    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = model_of([product], {"x": array(2, 128)}, ["y"], {"w": array(128, 128)})
    models = {name: normalize(from_proto(model)) for name in ("serving_default", "again")}
    assert len(NativeModel(models)._variables) == 1


def image_model(channels: int) -> NativeModel:
    node = helper.make_node("Relu", ["x"], ["y"])
    return native(model_of([node], {"x": array(2, channels, 4, 5)}, ["y"]), layout="nhwc")


@pytest.mark.parametrize(("channels", "permutations"), [(3, {"x": (0, 2, 3, 1)}), (8, {})])
def test_layout_nhwc_takes_images_channels_last(channels: int, permutations: dict[str, tuple[int, ...]]) -> None:
    model = image_model(channels)
    assert model.permutations == permutations
    x = array(2, channels, 4, 5)
    served = x.transpose(permutations["x"]) if permutations else x
    np.testing.assert_array_equal(model(x=served)["y"].numpy(), np.maximum(x, 0))


def test_static_shapes_must_fit_the_signature() -> None:
    model = native(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": array(2, 3)}, ["y"]))
    assert model.static({"x": (1, 3)}).structured_outputs["y"].shape == (1, 3)
    with pytest.raises(ConversionError, match="The input 'x' has no static shape"):
        model.static({})
    with pytest.raises(ConversionError, match=r"cannot take the shape \[1, 4\]"):
        model.static({"x": (1, 4)})


def test_a_run_node_by_node_yields_each_value_in_onnx_order() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    model = normalize(from_proto(model_of(nodes, {"x": array(2, 3, 4, 5)}, ["y"], {"w": array(6, 3, 1, 1)})))
    values = {name: array for name, _, array in run_eagerly(model, {"x": array(2, 3, 4, 5)})}
    assert values["h"].shape == (2, 6, 4, 5)
    np.testing.assert_array_equal(values["y"], np.maximum(values["h"], 0))
