"""Resize of images whose height and width are known only at run time, compared with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from bundler.converters.native import NativeConverter


def write_model(folder: Path, scales: list[float], **attributes: Any) -> Path:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
    resized = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, None, None])
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    constants = [helper.make_tensor("scales", TensorProto.FLOAT, [4], scales)]
    graph = helper.make_graph([node], "resize", [image], [resized], constants)
    path = folder / "resize.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("mode", "coordinates", "rounding", "factor"),
    [
        ("linear", "half_pixel", "round_prefer_floor", 2),
        ("linear", "pytorch_half_pixel", "round_prefer_floor", 3),
        ("linear", "align_corners", "round_prefer_floor", 2),
        ("linear", "asymmetric", "round_prefer_floor", 2),
        ("nearest", "asymmetric", "floor", 3),
        ("nearest", "half_pixel", "round_prefer_floor", 2),
        ("nearest", "half_pixel", "round_prefer_ceil", 3),
    ],
)
def test_images_of_dynamic_size_are_resized_by_whole_factors(
    tmp_path: Path, mode: str, coordinates: str, rounding: str, factor: int
) -> None:
    path = write_model(
        tmp_path, [1, 1, factor, factor], mode=mode, coordinate_transformation_mode=coordinates, nearest_mode=rounding
    )
    model = NativeConverter().convert({"serving_default": path})
    for shape in ((2, 3, 5, 7), (1, 3, 8, 4)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        (want,) = ort.InferenceSession(str(path)).run(None, {"x": x})
        got = model(x=x)["y"].numpy()
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-6)
