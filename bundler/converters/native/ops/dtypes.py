"""ONNX's dtypes and conversions between them.

https://onnx.ai/onnx/operators/onnx__Cast.html
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import tensorflow as tf

from bundler.converters.native.tensors import Tensor


def _narrow(name: str) -> tf.DType | None:
    """Return the dtype of fewer than 8 bits, or of an 8-bit float; None if this TensorFlow or ml_dtypes lacks it (2.18: int2)."""
    try:
        return tf.as_dtype(getattr(ml_dtypes, name))
    except (AttributeError, TypeError):
        return None


_INTEGERS: dict[tf.DType, tuple[int, int]] = {
    dtype: bounds
    for name, bounds in {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}.items()
    if (dtype := _narrow(name)) is not None
}
_FLOATS: dict[tf.DType, float] = {
    dtype: float(ml_dtypes.finfo(name).max)  # type: ignore[no-untyped-call]
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn")
    if (dtype := _narrow(name)) is not None
}
_CONVERTIBLE = {_narrow(name) for name in ("int4", "uint4", "float8_e4m3fn", "float8_e5m2")}
"""The narrow types that TensorFlow's kernels can convert; others it can only pass on."""


def tensor_dtype(element_type: int) -> tf.DType:
    """Return the TensorFlow dtype of an onnx.TensorProto element type.

    Raises:
        ValueError: TensorFlow has no such type.
    """
    if element_type == onnx.TensorProto.STRING:
        return tf.string
    try:
        return tf.as_dtype(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element_type)))
    except (KeyError, TypeError) as exc:
        name = onnx.TensorProto.DataType.Name(element_type)
        raise ValueError(f"TensorFlow has no dtype for ONNX's {name}") from exc


def limits(dtype: tf.DType) -> tuple[int, int] | None:
    """Return the lowest and highest value of an integer dtype; None for any other dtype."""
    if dtype in _INTEGERS:
        return _INTEGERS[dtype]
    return (dtype.min, dtype.max) if dtype.is_integer else None


def convert(x: Tensor, dtype: tf.DType, *, saturate: bool = True) -> Tensor:
    """Cast as ONNX does: bool from a number is `!= 0`, strings are parsed and printed.

    Args:
        x: the tensor.
        dtype: the result's dtype.
        saturate: whether floating-point formats of 8 bits and less saturate.

    Raises:
        ValueError: TensorFlow cannot convert from or to this dtype.
    """
    if x.dtype == dtype:
        return x
    narrow = [t for t in (x.dtype, dtype) if t in _INTEGERS or t in _FLOATS]
    if narrow:
        return _convert_narrow(x, dtype, saturate)
    if x.dtype == tf.string:
        return tf.cast(tf.strings.to_number(x, tf.float64 if dtype == tf.float64 else tf.float32), dtype)
    if dtype == tf.string:
        return _printed(x)
    return tf.cast(x, dtype)


def _convert_narrow(x: Tensor, dtype: tf.DType, saturate: bool) -> Tensor:
    for narrow in (x.dtype, dtype):
        if (narrow in _INTEGERS or narrow in _FLOATS) and narrow not in _CONVERTIBLE:
            return _convert_constant(x, dtype, narrow)
    if x.dtype in _INTEGERS:
        return convert(tf.cast(x, tf.int8 if x.dtype.name == "int4" else tf.uint8), dtype)
    if x.dtype in _FLOATS:
        return convert(tf.cast(x, tf.float32), dtype)
    if dtype in _INTEGERS:
        return _to_small_integer(x, dtype)
    data = tf.cast(x, tf.float32)
    highest = _FLOATS[dtype]
    if saturate:
        data = tf.where(tf.math.is_nan(data), data, tf.clip_by_value(data, -highest, highest))
    return tf.cast(data, dtype)


def _to_small_integer(x: Tensor, dtype: tf.DType) -> Tensor:
    """Convert to an integer of 4 or 2 bits; numbers beyond the range keep their lowest bits."""
    whole = tf.cast(x, tf.int32)
    low, high = _INTEGERS[dtype]
    return tf.cast(tf.math.floormod(whole - low, high - low + 1) + low, dtype)


def _convert_constant(x: Tensor, dtype: tf.DType, narrow: tf.DType) -> Tensor:
    """Convert with NumPy, at build time, what TensorFlow has no kernel for."""
    if not hasattr(x, "numpy"):
        raise ValueError(f"TensorFlow has no kernel that converts {narrow.name}")
    array: Any = x.numpy()
    return tf.constant(array.astype(np.float32).astype(dtype.as_numpy_dtype))


def _printed(x: Tensor) -> Tensor:
    """Print numbers as strings; floating-point ones in as few digits as TensorFlow's `shortest` gives."""
    if not x.dtype.is_floating:
        return tf.strings.as_string(x)
    return tf.strings.as_string(x, shortest=True)
