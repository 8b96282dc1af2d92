"""Depthwise convolutions with large kernels: the tiles cover the kernel once, and their sum answers in TFLite as the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from bundler.converters.native.ops.depthwise_tiles import MOST_TAPS, tiles
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.lowered import Lowered


@pytest.mark.parametrize(
    ("height", "width", "count"), [(5, 5, 1), (7, 7, 3), (1, 31, 2), (31, 1, 2), (11, 11, 6), (13, 13, 9), (2, 40, 4)]
)
def test_tiles_cover_the_kernel_once_with_few_taps(height: int, width: int, count: int) -> None:
    covered = np.zeros((height, width), int)
    for tile in tiles(height, width):
        part = covered[tile.top : tile.bottom, tile.left : tile.right]
        assert 0 < part.size <= MOST_TAPS
        part += 1
    assert (covered == 1).all()
    assert len(list(tiles(height, width))) == count


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "padded": ((1, 4, 11, 12), (4, 1, 7, 7), {"pads": [3, 3, 3, 3]}),
    "not padded": ((1, 4, 11, 12), (4, 1, 7, 7), {}),
    "SAME_UPPER, strided": ((1, 4, 16, 15), (4, 1, 7, 7), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "strided, asymmetric pads": ((2, 3, 17, 16), (3, 1, 7, 5), {"pads": [3, 1, 2, 0], "strides": [2, 2]}),
    "dilated": ((1, 3, 24, 26), (3, 1, 7, 7), {"pads": [6, 6, 6, 6], "dilations": [2, 3]}),
    "multiplier": ((1, 3, 12, 12), (6, 1, 7, 7), {"pads": [3, 3, 3, 3]}),
    "1-D": ((1, 4, 40), (4, 1, 31), {"pads": [15, 15]}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_sum_of_tiles_answers_as_the_whole_kernel(tmp_path: Path, name: str) -> None:
    x, w, attributes = CONVOLUTIONS[name]
    inputs = {"x": array(*x)}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=x[1], **attributes)
    constants = {"w": array(*w, seed=1), "b": array(w[0], seed=2)}
    file = Lowered(model_of([node], inputs, ["y"], constants, dynamic={"x": list(x)}), inputs, tmp_path)
    file.assert_answers()
    assert file.operators["DEPTHWISE_CONV_2D"] == len(list(tiles(*((1, *w[2:]) if len(w) == 3 else w[2:]))))
    assert file.delegation.share == 1.0


def test_a_kernel_of_25_taps_is_whole(tmp_path: Path) -> None:
    inputs = {"x": array(1, 4, 9, 9)}
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[2, 2, 2, 2])
    model = model_of([node], inputs, ["y"], {"w": array(4, 1, 5, 5, seed=1)}, dynamic={"x": [1, 4, 9, 9]})
    file = Lowered(model, inputs, tmp_path)
    file.assert_answers()
    assert file.operators["DEPTHWISE_CONV_2D"] == 1
