"""An exported file and its external data are moved together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundler.graph.external_data import move_with_data
from tests.bundler.converters.native.oracle import array, model_of

WEIGHT = array(4, 3, seed=1)


def save(path: Path, *, external: bool) -> Path:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = model_of(nodes, {"x": array(2, 4)}, ["y"], {"w": WEIGHT}, opset=21)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("external", [False, True])
def test_file_is_moved_with_its_data(tmp_path: Path, external: bool) -> None:
    source, target = save(tmp_path / "m.onnx", external=external), tmp_path / "onnx" / "1.onnx"
    assert move_with_data(source, target) == 21
    (weight,) = onnx.load(target).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), WEIGHT)
    assert (tmp_path / "onnx" / "1.onnx.data").exists() == external
    assert not (tmp_path / "weights.bin").exists()
