"""How many of a model's first layers stay float in int8."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from bundler.tflite.contents import TfliteOperator
from bundler.tflite.leading import AIM_DB, leading_layers

NAMES = ("GATHER", *("CONV_2D", "MUL", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D") * 8)
LAYERS = tuple(TfliteOperator(name, ("FLOAT32",), ("FLOAT32",), f"t{index}") for index, name in enumerate(NAMES))
PRODUCTS = [index for index, name in enumerate(NAMES) if name not in ("GATHER", "MUL")]


class Noisy:
    """A network whose SQNR rises with each of the first products in float; counts the measurements."""

    def __init__(self, needed: int) -> None:
        self.needed, self.measured = needed, 0

    def __call__(self, floats: Collection[str]) -> float:
        self.measured += 1
        count = sum(f"t{index}" in floats for index in PRODUCTS)
        return AIM_DB + (count - self.needed)


@pytest.mark.parametrize("needed", [1, 2, 3, 5, 6])
def test_the_fewest_first_layers_that_are_good_enough_stay_float(needed: int) -> None:
    noisy = Noisy(needed)
    floats, count = leading_layers(LAYERS, noisy)
    assert needed <= count <= needed + max(1, needed // 8)
    assert floats == {f"t{index}" for index in range(1, PRODUCTS[count - 1] + 1)}, "the table stays int8"
    assert noisy.measured <= 9


def test_a_file_that_is_good_enough_has_no_float_layers_and_is_measured_once() -> None:
    noisy = Noisy(0)
    assert leading_layers(LAYERS, noisy) == (frozenset(), 0)
    assert noisy.measured == 1


def test_nothing_is_float_if_a_quarter_of_the_layers_does_not_help() -> None:
    assert leading_layers(LAYERS, Noisy(7)) == (frozenset(), 0)


def test_a_model_without_products_has_no_float_layers() -> None:
    assert leading_layers(LAYERS[:1], Noisy(1)) == (frozenset(), 0)
