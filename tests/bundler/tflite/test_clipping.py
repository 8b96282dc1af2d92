"""Ranges for int8: narrowed to where the values are, and not widened by masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from bundler.tflite.clipping import BEYOND_SCORES, MASK, best_range, is_real
from bundler.tflite.health import unhealthy
from bundler.tflite.placement import float_layers
from bundler.tflite.quantize import quantize
from tests.bundler.tflite.masked import MASKS, Masked, Quantizable, calls

RNG = np.random.default_rng(0)


def largest_scale(file: bytes) -> float:
    details = Interpreter(model_content=file).get_tensor_details()
    return max(float(np.max(tensor["quantization_parameters"]["scales"], initial=0)) for tensor in details)


def test_far_values_narrow_the_range_to_the_others() -> None:
    values = RNG.standard_normal(100_000).astype(np.float32)
    low, high, has_mask = best_range(np.append(values, np.float32(400)))
    assert not has_mask
    assert values.min() <= low < -3
    assert 3 < high < 380


def test_even_values_keep_their_range_and_the_range_includes_zero() -> None:
    values = RNG.uniform(2, 5, 100_000).astype(np.float32)
    assert best_range(values) == (0.0, pytest.approx(5, abs=1e-3), False)
    assert best_range(-values) == (pytest.approx(-5, abs=1e-3), 0.0, False)


def test_few_values_keep_their_range() -> None:
    assert best_range(np.array([0.1, 0.2, -0.1, 90], np.float32)) == (pytest.approx(-0.1), 90, False)


@pytest.mark.parametrize("mask", [-np.inf, np.finfo(np.float32).min, -1e9, -1e4, np.inf, 65504.0])
def test_masked_values_end_the_range_a_little_beyond_the_others(mask: float) -> None:
    scores = RNG.uniform(-3, 2, 5_000).astype(np.float32)
    values = np.append(scores, np.full(5_000, mask, np.float32))
    low, high, has_mask = best_range(values, may_be_masked=True)
    assert has_mask
    wanted = (scores.min() - BEYOND_SCORES, scores.max()) if mask < 0 else (scores.min(), scores.max() + BEYOND_SCORES)
    assert (low, high) == pytest.approx(wanted, abs=1e-5)
    assert is_real(values).sum() == scores.size
    alone = np.array([0, mask, mask], np.float32)
    assert best_range(alone, may_be_masked=True) == ((-MASK, 0.0, True) if mask < 0 else (0.0, MASK, True))


def test_columns_of_different_units_are_no_masks() -> None:
    ages_and_incomes = np.array([20, 30, 80, 40_000, 90_000], np.float32)
    assert best_range(ages_and_incomes) == (0.0, 90_000.0, False)


@pytest.mark.parametrize(
    "values", [[], [0.0], [5e3], [-1e9, -1e9], [1.0, 10.0, 100.0, 1000.0, 9000.0]], ids=str
)
def test_values_without_a_gap_are_no_masks(values: list[float]) -> None:
    assert is_real(np.array(values, np.float32)).all()


@pytest.mark.parametrize(
    "mask", [MASKS[0], *(pytest.param(mask, marks=pytest.mark.slow) for mask in MASKS[1:])], ids=lambda mask: mask.__name__
)
def test_masked_attention_is_alive_in_int8(tmp_path: Path, mask: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    model = Quantizable.of(Masked(mask), tmp_path)
    files = {"int8": quantize(model.clipped.file, float_layers(model.clipped.file, model.clipped.masked))}
    files["int8-full"] = quantize(model.clipped.file)
    for variant, file in files.items():
        assert largest_scale(file) < 1, variant
        assert unhealthy(model.clipped, file, calls()) == {}, variant
    ratios = [model.sqnr_db(file, tmp_path) for file in files.values()]
    assert ratios[0] > 20 and ratios[1] > 15, ratios
