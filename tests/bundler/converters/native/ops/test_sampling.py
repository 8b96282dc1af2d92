"""Images sampled at positions that the model computes, compared with ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import array, assert_agrees, assert_node_agrees, model_of


@pytest.mark.sample(3)
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_grid_sample(mode: str, padding: str, aligned: int) -> None:
    grid = np.random.default_rng(1).uniform(-1.3, 1.3, (2, 4, 5, 2)).astype(np.float32)
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    assert_node_agrees("GridSample", {"x": array(2, 3, 6, 7), "grid": grid}, opset=20, **attributes)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(mode: str, ratio: int) -> None:
    rois = np.array([[0, 0, 5, 4], [1, 2, 7, 8], [2.5, 1, 3, 6]], np.float32)
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "batch"], ["y"], mode=mode, sampling_ratio=ratio, output_height=3, output_width=2,
        spatial_scale=0.9, coordinate_transformation_mode="half_pixel" if mode == "avg" else "output_half_pixel",
    )  # fmt: skip
    inputs = {"x": array(2, 3, 9, 8), "rois": rois, "batch": np.array([0, 1, 0], np.int64)}
    dynamic = {"x": ["n", 3, 9, 8], "rois": ["r", 4], "batch": ["r"]}
    assert_agrees(model_of([node], inputs, ["y"], dynamic=dynamic), inputs)
