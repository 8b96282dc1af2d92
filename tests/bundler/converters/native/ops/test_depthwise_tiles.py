"""Depthwise convolutions with large kernels, cut into parts for TFLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from bundler.converters.native.ops.depthwise_tiles import tile_of
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.lowered import Lowered
from tests.bundler.tflite.resized import Resized

CHANNELS = 3


@pytest.mark.parametrize(
    ("kernel", "tile"),
    [((7, 7), (3, 7)), ((9, 9), (5, 5)), ((13, 13), (5, 5)), ((1, 31), (1, 25)), ((31, 1), (25, 1)), ((2, 13), (1, 13))],
)
def test_kernel_is_cut_into_few_parts_of_at_most_25_weights(kernel: tuple[int, int], tile: tuple[int, int]) -> None:
    assert tile_of(*kernel) == tile


def depthwise(kernel: tuple[int, ...], *, multiplier: int = 1, dynamic: Any = None, **attributes: Any) -> tuple[Any, Any]:
    """Return a model of one depthwise convolution, and its inputs."""
    size = (20,) * len(kernel)
    inputs = {"x": array(2, CHANNELS, *size)}
    weights = {"w": array(CHANNELS * multiplier, 1, *kernel, seed=1), "b": array(CHANNELS * multiplier, seed=2)}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=CHANNELS, **attributes)
    return model_of([node], inputs, ["y"], weights, dynamic={"x": dynamic or list(inputs["x"].shape)}), inputs


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("parts", "further"),
    [
        (3, {"kernel": (7, 7), "pads": [3, 3, 3, 3]}),
        (3, {"kernel": (7, 7), "pads": [3, 3, 3, 3], "multiplier": 2}),
        (3, {"kernel": (7, 7), "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        (4, {"kernel": (9, 9)}),
        (2, {"kernel": (6, 6), "pads": [0, 3, 1, 2], "strides": [3, 3]}),
        (3, {"kernel": (7, 7), "pads": [6, 6, 6, 6], "dilations": [2, 2]}),
        (2, {"kernel": (31,), "pads": [15, 15]}),
        (1, {"kernel": (5, 5), "pads": [2, 2, 2, 2]}),
    ],
    ids=str,
)
def test_sum_of_the_parts_is_the_convolution(tmp_path: Path, parts: int, further: dict[str, Any]) -> None:
    lowered = Lowered(*depthwise(**further), tmp_path)
    assert lowered.operators["DEPTHWISE_CONV_2D"] == parts
    assert lowered.delegation.share == 1
    lowered.assert_answers()


def test_parts_fit_images_of_any_size(tmp_path: Path) -> None:
    model, _ = depthwise((7, 7), pads=[3, 3, 3, 3], dynamic=["batch", CHANNELS, "height", "width"])
    resized = Resized(model, tmp_path)
    for batch, height, width in ((1, 20, 20), (2, 9, 12), (1, 30, 8)):
        resized.assert_answers({"x": array(batch, CHANNELS, height, width, seed=batch)})
    assert resized.delegation.share == 1
