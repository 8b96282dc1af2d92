"""Reshapes of tensors stored channels last, by axes: which of them leave the data in place."""

from __future__ import annotations

import pytest
import tensorflow as tf

from bundler.converters.native.dims import Dim, Element
from bundler.converters.native.ops.reorder import reshaped_order

LAST = (0, 2, 3, 1)
N = Dim("n", lambda: tf.constant(2, tf.int64))
CASES: dict[str, tuple[list[Element], list[Element], tuple[int, ...] | None]] = {
    "height and width merge": ([N, 8, 4, 5], [N, 8, 20], (0, 2, 1)),
    "channels split": ([N, 8, 4, 5], [N, 2, 4, 4, 5], (0, 3, 4, 1, 2)),
    "an axis of size 1 joins the channels": ([N, 8, 4, 5], [N, 8, 1, 4, 5], (0, 3, 4, 1, 2)),
    "channels and height are stored apart": ([N, 8, 4, 5], [N, 32, 5], None),
    "all in one": ([2, 8, 4, 5], [320], None),
    "an unknown size is added": ([N, 8, 4, 5], [Dim("m", lambda: tf.constant(1, tf.int64)), 8, 4, 5], LAST),
    "nothing to reshape": ([0, 8, 4, 5], [0, 8, 20], None),
}


@pytest.mark.parametrize(("sizes", "target", "order"), CASES.values(), ids=CASES)
def test_the_order_after_a_reshape(
    sizes: list[Element], target: list[Element], order: tuple[int, ...] | None
) -> None:
    assert reshaped_order(sizes, target, LAST) == order
