"""How quantized constants are described for TFLite, and numbers on an 8-bit grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.fake_quantize import fake_quantize, quant_params_of, quantized_weight
from bundler.converters.native.quant_params import QuantParams
from bundler.converters.native.weights import WeightStore

SCALE = np.array([0.5], np.float32)


def context(target: Any) -> Context:
    return Context(WeightStore(constants_only=True), 21, target)


@pytest.mark.parametrize(
    ("values", "zero_point", "params"),
    [
        (np.array([-127, 5], np.int8), None, (0, -127, 127)),
        (np.array([-128, 5], np.int8), None, (0, -128, 127)),
        (np.array([0, 5], np.int8), np.array(3, np.int8), (3, -128, 127)),
        (np.array([0, 5], np.uint8), np.array(128, np.uint8), (128, 0, 255)),
    ],
)
def test_the_lowest_integer_is_left_out_of_symmetric_ranges(
    values: np.ndarray[Any, Any], zero_point: np.ndarray[Any, Any] | None, params: tuple[int, int, int]
) -> None:
    assert quant_params_of(values, SCALE, zero_point) == QuantParams(SCALE, *params)


def test_constants_that_tflite_does_not_have_are_not_described() -> None:
    eight_bits = np.array([1], np.int8)
    assert quant_params_of(np.array([1], np.int16), SCALE, None) is None
    assert quant_params_of(eight_bits, SCALE.astype(np.float64), None) is None
    assert quant_params_of(eight_bits, SCALE, np.array([0, 1], np.int8)) is None


@pytest.mark.parametrize("target", ["serving", "tflite"])
def test_numbers_are_rounded_to_the_grid(target: str) -> None:
    x = tf.constant([0.3, 0.2, 1000.0, -1000.0])
    result = fake_quantize(context(target), x, np.array(0.5, np.float32), np.array(0, np.int8))
    np.testing.assert_allclose(result, [0.5, 0.0, 63.5, -64.0])


def test_only_tflite_gets_the_quantization_of_a_weight() -> None:
    data = tf.constant([[0.3, 0.6]])
    for target, expected in (("serving", [[0.3, 0.6]]), ("tflite", [[0.5, 0.5]])):
        weight = context(target).constant(np.array([[0.3, 0.6]], np.float32))
        weight.quant_params = QuantParams(SCALE, 0, -127, 127)
        np.testing.assert_allclose(quantized_weight(context(target), weight, data), expected, rtol=1e-6)
