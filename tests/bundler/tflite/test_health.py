"""Tensors within an int8 file that have lost their values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bundler.tflite.clipping import Clipped
from bundler.tflite.health import _complaint, unhealthy
from bundler.tflite.quantize import quantize
from tests.bundler.tflite.calibrated import calibrated
from tests.bundler.tflite.masked import Masked, Quantizable, calls, filled

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal(1_000).astype(np.float32)


def rounded(step: float, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    return np.clip(np.round(VALUES.astype(np.float64) / step) * step, low, high)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (rounded(0.03), ""), (rounded(1e30), "1 value left of 1000"), (rounded(1.0, 0, 1), "2 values left of 1000"),
        (rounded(0.01, high=0.5), "cut off at the end of its range"), (rounded(0.03, -3, 3), ""),
    ],
)  # fmt: skip
def test_dead_and_saturated_tensors_are_named(values: np.ndarray, complaint: str) -> None:
    found = _complaint(VALUES, values, masked=False)
    assert complaint in found and bool(found) == bool(complaint)


def test_a_tensor_that_is_constant_in_float_is_not_dead() -> None:
    assert _complaint(np.ones(100, np.float32), np.ones(100), masked=False) == ""


def test_masked_values_do_not_count() -> None:
    exact = np.where(np.arange(1_000) % 2, VALUES, np.float32(-100))
    values = np.where(np.arange(1_000) % 2, rounded(0.03), -11)
    assert _complaint(exact, values, masked=True) == ""
    assert "50% of its values are cut off" in _complaint(exact, values, masked=False)


@pytest.mark.slow
def test_attention_with_one_score_left_is_found(tmp_path: Path) -> None:
    """The ranges as TensorFlow calibrates them include the mask."""
    torch.manual_seed(0)
    model = Quantizable.of(Masked(filled), tmp_path, clips=False)
    lost = unhealthy(model.clipped, quantize(model.clipped.file), calls())
    assert any("left of" in complaint for complaint in lost.values()), lost


class Prefixed(torch.nn.Module):
    """Puts a tiny token in front of the others, as an untrained ViT does, or several copies of it."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies
        self.token, self.after = torch.nn.Parameter(1e-6 * torch.randn(1, 1, 32)), torch.nn.Linear(32, 8)
        self.before = torch.nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        token = self.token * (1 + x.mean(1, keepdim=True))
        return self.after(torch.cat([token.expand(-1, self.copies, -1), x], 1))


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 3])
def test_a_small_part_of_a_concatenation_is_judged_with_the_whole(copies: int, tmp_path: Path) -> None:
    samples = [{"x": np.random.default_rng(seed).standard_normal((1, 8, 32), np.float32)} for seed in range(4)]
    file = calibrated(Prefixed(copies), samples, tmp_path)
    assert unhealthy(Clipped(file, frozenset()), quantize(file), samples) == {}
