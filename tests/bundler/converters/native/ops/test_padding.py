"""Pads of convolutions and pools: ONNX's attributes as TensorFlow's arguments."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.dims import Dim, tensor_of
from bundler.converters.native.ops.padding import Padding, resolve_padding


@pytest.mark.parametrize(
    ("auto_pad", "pads", "size", "stride", "expected"),
    [
        ("NOTSET", None, 8, 1, Padding((0,), (0,))),
        ("NOTSET", [1, 1], 8, 1, Padding((1,), (1,), same=True)),
        ("NOTSET", [1, 1], None, 1, Padding((1,), (1,), same=True)),
        ("NOTSET", [1, 1], 8, 2, Padding((1,), (1,))),
        ("NOTSET", [0, 1], 8, 2, Padding((0,), (1,), same=True)),
        ("NOTSET", [1, 1], None, 2, Padding((1,), (1,))),
        ("VALID", [1, 1], 8, 1, Padding((0,), (0,))),
        ("SAME_UPPER", None, None, 2, Padding((0,), (0,), same=True)),
        ("SAME_LOWER", None, 8, 2, Padding((1,), (0,))),
        ("SAME_LOWER", None, None, 1, Padding((1,), (1,), same=True)),
    ],
)
def test_attributes_become_pads(
    auto_pad: str, pads: list[int] | None, size: int | None, stride: int, expected: Padding
) -> None:
    known = Dim("n", lambda: tf.constant(8, tf.int64)) if size is None else size
    assert resolve_padding(auto_pad, pads, [known], [3], [stride], [1]) == expected


def test_same_lower_over_a_dynamic_size_with_a_stride_is_computed_at_run_time() -> None:
    size = Dim("n", lambda: tf.constant(8, tf.int64))
    padding = resolve_padding("SAME_LOWER", None, [size], [3], [2], [1])
    assert padding.is_dynamic
    assert [int(tensor_of(p)) for p in (*padding.begin, *padding.end)] == [1, 0]


@pytest.mark.parametrize(("target", "mode"), [("serving", [[0, 0], [1, 2], [0, 0]]), ("tflite", "VALID")])
def test_only_serving_has_explicit_paddings(target: str, mode: object) -> None:
    data, given = Padding((1,), (2,)).apply(tf.ones([1, 4, 1]), target)
    assert given == mode
    assert data.shape[1] == (4 if target == "serving" else 7)


def test_negative_pads_crop() -> None:
    data, mode = Padding((-1,), (0,)).apply(tf.reshape(tf.range(4), [1, 4, 1]), "serving")
    assert mode == "VALID"
    np.testing.assert_array_equal(data[0, :, 0], [1, 2, 3])


def test_a_larger_kernel_of_zeros_turns_pytorchs_pads_into_same() -> None:
    """PyTorch's stride of 2 with a 3x3 kernel and one row of padding is SAME for a 4x4 kernel, on even sizes."""
    padding = Padding((1, 1), (1, 1))
    assert padding.same_with_zeros([8, 8], [3, 3], [2, 2], [1, 1]) == [1, 1]
    assert padding.same_with_zeros([9, 9], [3, 3], [2, 2], [1, 1]) == [0, 0]
    assert padding.same_with_zeros([None, 8], [3, 3], [2, 2], [1, 1]) is None
    assert padding.same_with_zeros([8, 8], [3, 3], [2, 2], [2, 2]) is None
