"""Integer division in TFLite, which has no kernel for int64; other elementwise operators run in tests/conformance."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.elementwise import div
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array


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
