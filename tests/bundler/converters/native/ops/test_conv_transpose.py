"""Transposed convolutions as PyTorch exports them, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bundler.converters.native.oracle import array, assert_node_agrees

TRANSPOSED: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("1-D", (2, 4, 7), (4, 3, 4), {"strides": [2], "pads": [1, 1]}),
    ("doubling", (2, 4, 5, 6), (4, 3, 2, 2), {"strides": [2, 2]}),
    ("U-Net's other doubling", (2, 4, 5, 6), (4, 3, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("output padding", (2, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("output padding beyond pads", (2, 4, 5, 6), (4, 3, 3, 3), {"strides": [3, 3], "output_padding": [2, 1]}),
    ("asymmetric pads", (2, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 0, 0, 2]}),
    ("grouped", (2, 4, 5, 6), (4, 2, 3, 3), {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("dilated", (2, 4, 5, 6), (4, 3, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ("dilated and strided", (2, 4, 5, 6), (4, 3, 3, 3), {"dilations": [2, 3], "strides": [2, 2]}),
    ("3-D", (2, 3, 4, 4, 5), (3, 2, 2, 2, 2), {"strides": [2, 2, 2]}),
]


@pytest.mark.parametrize(("shape", "kernel", "attributes"), [c[1:] for c in TRANSPOSED], ids=[c[0] for c in TRANSPOSED])
def test_transposed_convolution_agrees(shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]) -> None:
    group = attributes.get("group", 1)
    constants = {"w": array(*kernel, seed=1), "b": array(kernel[1] * group, seed=2)}
    assert_node_agrees("ConvTranspose", {"x": array(*shape)}, constants, **attributes)
