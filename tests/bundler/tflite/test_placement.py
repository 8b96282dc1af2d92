"""Which operators of an int8 file stay float: those that XNNPACK takes in float only, and what lies between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bundler.tflite import contents
from bundler.tflite.delegation import delegation
from bundler.tflite.placement import float_layers
from bundler.tflite.quantize import layers, quantize
from bundler.values.arrays import Array
from tests.bundler.tflite.calibrated import calibrated


class Block(nn.Module):
    """A block of a transformer: LayerNorm and GELU are float only, the products are int8."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x)), approximate="tanh"))


class Mobile(nn.Module):
    """Convolutions with a residual sum, which stays int8 between them, and a hard swish, which is float only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = x + self.second(x).relu()
        return nn.functional.hardswish(self.third(x))


class Swish(nn.Module):
    """Convolutions with a swish between them, which is int8 by a table and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 8, 3), nn.SiLU(), nn.Conv2d(8, 4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def normal(*shape: int) -> list[dict[str, Array]]:
    """Return four calls of normal numbers."""
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal(shape, np.float32)} for _ in range(4)]


def assert_one_partition(file: bytes, work: Path) -> None:
    path = work / "placed.tflite"
    path.write_bytes(file)
    assert (delegation(path).partitions, delegation(path).left) == (1, {})


def test_only_the_products_of_a_transformer_block_are_int8(tmp_path: Path) -> None:
    file = calibrated(Block(), normal(1, 8, 16), tmp_path)
    floats = set(float_layers(file))
    assert {layer.name for layer in layers(file) if layer.tensor not in floats} <= {"FULLY_CONNECTED", "RESHAPE"}
    placed = quantize(file, floats)
    assert contents.count(contents.operators_of(placed), only_float=True).get("FULLY_CONNECTED", 0) == 0
    assert_one_partition(placed, tmp_path)


@pytest.mark.slow
def test_a_sum_between_convolutions_is_int8_and_a_hard_swish_is_float(tmp_path: Path) -> None:
    file = calibrated(Mobile(), normal(1, 4, 16, 16), tmp_path)
    floats = set(float_layers(file))
    assert {layer.name for layer in layers(file) if layer.tensor in floats} - {"TRANSPOSE"} == {"HARD_SWISH"}
    assert_one_partition(quantize(file, floats), tmp_path)


@pytest.mark.slow
def test_a_swish_between_convolutions_is_int8(tmp_path: Path) -> None:
    assert float_layers(calibrated(Swish(), normal(1, 4, 16, 16), tmp_path)) == ()


@pytest.mark.slow
def test_operators_of_forced_tensors_are_float(tmp_path: Path) -> None:
    file = calibrated(Pair(), normal(1, 16), tmp_path)
    assert float_layers(file) == ()
    (first, second) = [layer.tensor for layer in layers(file) if layer.name == "FULLY_CONNECTED"]
    assert set(float_layers(file, {first})) == {first, second}
    assert second in float_layers(file, {second})
