"""Integer division in TFLite, which has no kernel for int64; other elementwise operators run in tests/conformance."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
import tensorflow as tf
import torch

from bundler.converters.native.context import Context
from bundler.converters.native.ops.elementwise import div
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import native


def numbers(most: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(-most, most, 20_000)


@pytest.mark.parametrize(("a", "b"), [(2**61, 2**20), (2**62, 3), (100, 9), (2**40, 2**39)], ids=str)
def test_int64_is_divided_towards_zero_without_a_division(a: int, b: int) -> None:
    dividends, divisors = numbers(a, 1), numbers(b, 2)
    divisors[divisors == 0] = 1
    graph = tf.function(
        lambda x, y: div(Context(WeightStore(constants_only=True), 21, "tflite"), x, y), autograph=False
    )
    concrete = graph.get_concrete_function(*(tf.TensorSpec([None], tf.int64) for _ in range(2)))
    assert not {"TruncateDiv", "FloorDiv", "Div"} & {op.type for op in concrete.graph.get_operations()}
    result = concrete(tf.constant(dividends), tf.constant(divisors)).numpy()
    np.testing.assert_array_equal(
        result,
        np.array(
            [
                int(abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)
                for x, y in zip(dividends.tolist(), divisors.tolist(), strict=True)
            ]
        ),
    )


@pytest.mark.parametrize("exponent", ["y", "constant"])
def test_a_negative_power_of_an_integer_is_rounded_towards_zero(exponent: str) -> None:
    x, y = np.array([-2, -1, -1, 1, 2, 3, 0]), np.array([-1, -3, -2, -5, -1, 2, 0])
    numbers_of_y = ", ".join(map(str, y.tolist()))
    constant = f"<int64[7] constant = {{{numbers_of_y}}}>" if exponent == "constant" else ""
    model = native(
        onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 18]>\npower (int64[7] x, int64[n] y) => (int64[7] z) '
            f"{constant} {{ z = Pow(x, {exponent}) }}"
        )
    )
    got = model(x=x, y=y)["z"].numpy()
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, torch.pow(torch.from_numpy(x), torch.from_numpy(y)).numpy())
