"""Weights in int4 and int8: their scales, packing and error."""

from __future__ import annotations

import numpy as np
import pytest

from bundler.tflite.blocks import SIZE, Energy, Quantized, to_int4, to_int8
from bundler.values.arrays import Array


def unpacked(quantized: Quantized) -> Array:
    """The weights that int4 data stand for."""
    low, high = (quantized.data & 15).astype(np.int8), (quantized.data >> 4).astype(np.int8)
    values = np.stack([low, high], -1).reshape(len(low), -1)
    values = np.where(values > 7, values - 16, values).astype(np.float32)
    return values * np.repeat(quantized.scales, SIZE, 1)


def weights(rows: int = 24, columns: int = 96) -> Array:
    return np.random.default_rng(1).normal(size=(rows, columns)).astype(np.float32)


def energy_of(inputs: Array) -> Energy:
    return Energy(inputs.T @ inputs, len(inputs))


def test_int4_weights_have_half_a_byte_and_a_scale_for_each_block() -> None:
    quantized = to_int4(weights())
    assert quantized.data.dtype == np.uint8
    assert quantized.data.shape == (24, 48)
    assert quantized.scales.shape == (24, 3)


def test_weights_that_int4_holds_are_exact() -> None:
    exact = np.tile(np.arange(-7, 9) - 1, (4, 4)).astype(np.float32) * np.float32(0.25)
    np.testing.assert_array_equal(unpacked(to_int4(exact)), exact)


def test_scales_are_equal_in_bfloat16_and_float16() -> None:
    scales = to_int4(weights() * np.float32(0.01)).scales
    assert (scales.view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_array_equal(scales.astype(np.float16).astype(np.float32), scales)


def test_searched_scales_have_a_smaller_error_than_those_of_the_largest_weight() -> None:
    exact = weights()
    blocks = exact.reshape(-1, SIZE)
    scale = np.abs(blocks).max(1, keepdims=True) / 7
    plain = np.square(np.clip(np.rint(blocks / scale), -8, 7) * scale - blocks).sum()
    assert np.square(unpacked(to_int4(exact)) - exact).sum() < 0.9 * plain


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e9])
def test_extreme_weights_have_finite_positive_scales(value: float) -> None:
    exact = np.full((1, SIZE), value, np.float32)
    quantized = to_int4(exact)
    assert np.isfinite(quantized.scales).all()
    assert (quantized.scales > 0).all()
    assert (np.abs(unpacked(quantized)) <= np.abs(exact) + 1e-3).all()


def test_large_matrices_are_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = to_int4(weights())
    monkeypatch.setattr("bundler.tflite.blocks._CHUNK", 5 * 96)
    parts = to_int4(weights())
    np.testing.assert_array_equal(parts.data, whole.data)
    np.testing.assert_array_equal(parts.scales, whole.scales)


@pytest.mark.parametrize(("rows", "share"), [(400, 0.7), (16, 1.1)])
def test_rounding_with_inputs_has_a_smaller_error_of_the_product_on_other_inputs(rows: int, share: float) -> None:
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(96, 96)) * np.linspace(0.05, 3, 96)[:, None]
    inputs, others = ((rng.normal(size=(size, 96)) @ mixing).astype(np.float32) for size in (rows, 400))
    exact = weights()

    def error(quantized: Quantized) -> float:
        return float(np.square(others @ (unpacked(quantized) - exact).T).sum())

    assert error(to_int4(exact, energy_of(inputs))) < share * error(to_int4(exact))


@pytest.mark.parametrize("inputs", [np.zeros((3, 96)), np.eye(96)[:5]], ids=["zeros", "few rows"])
def test_rounding_takes_inputs_that_determine_nothing(inputs: Array) -> None:
    exact = weights()
    quantized = to_int4(exact, energy_of(inputs.astype(np.float32)))
    assert np.abs(unpacked(quantized) - exact).max() < 1


def test_few_rows_are_drawn_towards_independent_inputs() -> None:
    inputs = np.random.default_rng(3).normal(size=(2000, 8)).astype(np.float32)
    few, many = (energy_of(inputs[:count]).shrunk for count in (4, 2000))

    def apart(products: Array) -> float:
        return float(np.abs(products - np.diag(np.diag(products))).max() / np.diag(products).mean())

    assert apart(few) < 0.2 < apart(energy_of(inputs[:4]).products)
    assert apart(many) < 0.1


def test_int8_has_a_scale_for_each_row() -> None:
    exact = weights()
    exact[3] = 0
    quantized = to_int8(exact)
    assert quantized.data.dtype == np.int8
    np.testing.assert_allclose(quantized.data * quantized.scales[:, None], exact, atol=np.abs(exact).max() / 250)
