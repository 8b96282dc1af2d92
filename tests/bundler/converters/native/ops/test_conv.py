"""Convolutions as PyTorch exports them, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bundler.converters.native.oracle import array, assert_node_agrees

CONVOLUTIONS: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("1-D", (2, 4, 11), (6, 4, 3), {}),
    ("1-D strided, padded", (2, 4, 11), (6, 4, 3), {"strides": [2], "pads": [1, 1]}),
    ("1-D dilated", (2, 4, 16), (6, 4, 3), {"dilations": [3], "pads": [2, 2]}),
    ("1-D depthwise", (2, 4, 11), (4, 1, 5), {"group": 4, "pads": [2, 2]}),
    ("pointwise", (2, 4, 7, 5), (6, 4, 1, 1), {}),
    ("pointwise, strided", (2, 4, 7, 5), (6, 4, 1, 1), {"strides": [2, 2]}),
    ("same as TensorFlow's SAME", (2, 4, 8, 8), (6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("strided, not SAME", (2, 4, 8, 8), (6, 4, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("asymmetric pads", (2, 4, 8, 9), (6, 4, 3, 2), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    ("dilated", (2, 4, 12, 12), (6, 4, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    ("grouped", (2, 6, 8, 8), (9, 2, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    ("depthwise", (2, 6, 8, 8), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    ("depthwise with multiplier", (2, 3, 8, 8), (6, 1, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    ("depthwise, strided", (2, 6, 9, 9), (6, 1, 5, 5), {"group": 6, "pads": [2, 2, 2, 2], "strides": [2, 2]}),
    ("depthwise, strides differ", (2, 6, 9, 9), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1], "strides": [2, 1]}),
    ("depthwise, dilated", (2, 6, 9, 9), (6, 1, 3, 3), {"group": 6, "pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    ("1-D depthwise, dilated", (2, 4, 16), (4, 1, 3), {"group": 4, "dilations": [3], "pads": [3, 3]}),
    ("depthwise, dilations differ", (2, 6, 9, 11), (6, 1, 3, 3), {"group": 6, "pads": [2, 0, 1, 3], "dilations": [2, 3]}),
    ("depthwise, dilated with multiplier", (2, 3, 9, 9), (6, 1, 3, 3), {"group": 3, "pads": [1] * 4, "dilations": [3, 3]}),
    ("grouped, dilated", (2, 6, 9, 9), (9, 2, 3, 3), {"group": 3, "pads": [2] * 4, "dilations": [2, 2]}),
    ("1-D grouped", (2, 6, 11), (9, 2, 3), {"group": 3, "pads": [1, 1]}),
    ("SAME_UPPER", (2, 4, 7, 8), (6, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("SAME_LOWER", (2, 4, 7, 8), (6, 4, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("3-D", (2, 3, 5, 6, 7), (4, 3, 3, 3, 3), {"pads": [1] * 6}),
    ("3-D strided, asymmetric", (2, 3, 6, 6, 7), (4, 3, 3, 2, 3), {"pads": [1, 0, 2, 0, 1, 0], "strides": [2, 1, 2]}),
    ("3-D dilated", (2, 3, 8, 9, 7), (4, 3, 3, 2, 3), {"pads": [2, 1, 0, 1, 2, 3], "dilations": [2, 3, 2]}),
    ("3-D dilated, strided", (2, 3, 8, 9, 7), (4, 3, 3, 2, 3), {"pads": [2] * 6, "dilations": [2, 3, 2], "strides": [2, 1, 3]}),
    ("3-D dilated, grouped", (2, 4, 7, 7, 7), (6, 2, 3, 3, 3), {"group": 2, "pads": [2] * 6, "dilations": [2, 2, 2]}),
    ("3-D grouped", (2, 4, 5, 5, 5), (4, 2, 3, 3, 3), {"group": 2, "pads": [1] * 6}),
]


@pytest.mark.parametrize(("shape", "kernel", "attributes"), [c[1:] for c in CONVOLUTIONS], ids=[c[0] for c in CONVOLUTIONS])
def test_convolution_agrees(shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]) -> None:
    constants = {"w": array(*kernel, seed=1), "b": array(kernel[0], seed=2)}
    assert_node_agrees("Conv", {"x": array(*shape)}, constants, **attributes)


def test_convolution_with_computed_weights() -> None:
    inputs = {"x": array(2, 4, 8, 8), "w": array(2, 4, 3, 3, seed=1)}
    assert_node_agrees("Conv", inputs, pads=[1, 1, 1, 1])
