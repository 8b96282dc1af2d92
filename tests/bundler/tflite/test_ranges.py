"""Ranges of calibration data."""

from __future__ import annotations

import numpy as np

from bundler.adapters.samples import Sample
from bundler.tflite.ranges import InputRange


def samples(*arrays: list[float]) -> list[Sample]:
    return [Sample(f"s.npz[{i}]", {"x": np.array(array, np.float32)}) for i, array in enumerate(arrays)]


def test_a_single_far_value_is_an_outlier_and_its_sample_is_named() -> None:
    values = np.linspace(0, 1, 2000).tolist()
    input_range = InputRange.of("x", samples(values, [*values[:-1], 50.0], values))
    assert (input_range.low, input_range.high, input_range.farthest) == (0, 50, "s.npz[1]")
    assert input_range.has_outliers
    assert "ranges from 0 to 50, but 99.8 % of it from" in input_range.explain()


def test_evenly_spread_and_constant_values_have_no_outliers() -> None:
    assert not InputRange.of("x", samples(np.linspace(-3, 3, 100).tolist())).has_outliers
    assert not InputRange.of("x", samples([2.0, 2.0])).has_outliers


def test_inputs_without_elements_have_an_empty_range() -> None:
    assert InputRange.of("x", samples([])).to_json()["max"] == 0
