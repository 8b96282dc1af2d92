"""Resize as PyTorch's Upsample and interpolate export it, and pixel shuffles, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import array, assert_agrees, assert_node_agrees, model_of

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("nearest", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("nearest-exact", {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}),
    ("bilinear", {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
    ("bilinear, half_pixel", {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ("bilinear, aligned", {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("bilinear, antialias", {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "antialias": 1}),
    ("bicubic", {"mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75}),
    ("bicubic, aligned", {"mode": "cubic", "coordinate_transformation_mode": "align_corners", "cubic_coeff_a": -0.75}),
]  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("attributes", [f[1] for f in FORMS], ids=[f[0] for f in FORMS])
@pytest.mark.parametrize("size", [(14, 20), (9, 13), (4, 5)])
@pytest.mark.parametrize("computed", [False, True], ids=["static", "computed"])
def test_interpolate_to_a_size(attributes: dict[str, Any], size: tuple[int, int], computed: bool) -> None:
    """The size is a constant, or an input of the graph."""
    x, sizes = array(2, 3, 7, 10), np.array([2, 3, *size], np.int64)
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    if computed:
        model = model_of([node], {"x": x, "sizes": sizes}, ["y"], dynamic={"sizes": [4]})
        assert_agrees(model, {"x": x, "sizes": sizes})
    else:
        assert_agrees(model_of([node], {"x": x}, ["y"], {"sizes": sizes}, dynamic={"x": [2, 3, 7, 10]}), {"x": x})


@pytest.mark.sample(4)
@pytest.mark.parametrize("attributes", [f[1] for f in FORMS], ids=[f[0] for f in FORMS])
@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_interpolate_images_of_dynamic_size_by_a_scale(attributes: dict[str, Any], scale: float) -> None:
    """Height and width are dynamic."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    constants = {"scales": np.array([1, 1, scale, scale], np.float32)}
    model = model_of([node], {"x": array(1, 3, 8, 8)}, ["y"], constants, dynamic={"x": ["n", 3, "h", "w"]})
    assert_agrees(model, {"x": array(1, 3, 8, 6)}, {"x": array(2, 3, 12, 10)})


@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 5, 6, 7)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_interpolate_over_one_and_three_axes(shape: tuple[int, ...], mode: str) -> None:
    constants = {"scales": np.array([1, 1] + [2] * (len(shape) - 2), np.float32)}
    attributes = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    assert_node_agrees("Resize", {"x": array(*shape)}, constants, order=["x", "", "scales"], **attributes)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    assert_node_agrees("DepthToSpace", {"x": array(2, 12, 3, 4)}, blocksize=2, mode=mode)


def test_space_to_depth() -> None:
    assert_node_agrees("SpaceToDepth", {"x": array(2, 3, 6, 4)}, blocksize=2)


def test_models_of_the_oracle_are_valid_onnx() -> None:
    """Check the helper of these tests: ONNX accepts the models that it makes."""
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": array(2, 3)}, ["y"])
    onnx.checker.check_model(model)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5, 6)])
def test_resize_one_axis_of_signals_and_volumes(shape: tuple[int, ...]) -> None:
    """One axis grows by half; the batch is dynamic."""
    for axis in range(2, len(shape)):
        scales = np.array([1.5 if a == axis else 1 for a in range(len(shape))], np.float32)
        x = array(*shape)
        node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")
        assert_agrees(model_of([node], {"x": x}, ["y"], {"scales": scales}), {"x": x}, {"x": x[:1]})
