"""ONNX's dtypes in TensorFlow, and conversions between them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from onnx import TensorProto

from bundler.converters.native.ops.dtypes import convert, limits, tensor_dtype


def test_element_types_have_tensorflow_dtypes() -> None:
    assert tensor_dtype(TensorProto.BFLOAT16) == tf.bfloat16
    assert tensor_dtype(TensorProto.STRING) == tf.string
    with pytest.raises(ValueError, match="TensorFlow has no dtype for ONNX's FLOAT8E8M0"):
        tensor_dtype(TensorProto.FLOAT8E8M0)


def test_integers_have_limits() -> None:
    assert limits(tf.uint8) == (0, 255)
    assert limits(tf.as_dtype(ml_dtypes.int4)) == (-8, 7)
    assert limits(tf.float32) is None


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0.0, 0.5, -1.0], tf.bool, [False, True, True]),
        ([b"1.5", b"-2"], tf.float32, [1.5, -2.0]),
        ([b"7"], tf.int32, [7]),
        ([7, -1], tf.string, [b"7", b"-1"]),
        ([0.25, 1e10], tf.string, [b"0.25", b"1e+10"]),
        ([1000.0, -1000.0], tf.as_dtype(ml_dtypes.float8_e4m3fn), [448.0, -448.0]),
        ([9, -9], tf.as_dtype(ml_dtypes.int4), [-7, 7]),
    ],
)
def test_conversions_follow_onnx(values: list[Any], dtype: tf.DType, expected: list[Any]) -> None:
    result = convert(tf.constant(values), dtype)
    assert result.dtype == dtype
    assert [v if isinstance(v, bytes) else float(v) for v in result.numpy()] == expected


def test_a_narrow_dtype_without_a_kernel_is_converted_at_build_time_only() -> None:
    narrow = tf.as_dtype(ml_dtypes.float4_e2m1fn)
    assert convert(tf.constant([1.5]), narrow).numpy().astype(np.float32) == [1.5]

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32)])
    def graph(x: tf.Tensor) -> tf.Tensor:
        return convert(x, narrow)

    with pytest.raises(ValueError, match="TensorFlow has no kernel that converts float4_e2m1fn"):
        graph.get_concrete_function()
