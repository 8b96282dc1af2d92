"""Tensors as messages, compared with TensorFlow's own conversion."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.errors import TensorError
from serving.protocol import tensors
from serving.protocol.messages import enum, message
from serving.protocol.tensors import (
    BFloat16Bits,
    bfloat16_from_bits,
    bfloat16_to_float32,
    from_proto,
    to_proto,
)

TensorProto = message("tensorflow.TensorProto")
RNG = np.random.default_rng(7)

ARRAYS = {
    "float32": RNG.normal(size=(2, 3)).astype(np.float32),
    "float64": np.array([[math.pi, -0.0], [np.inf, np.nan]]),
    "float16": np.array([1.5, -65504, 6e-8, np.inf], np.float16),
    "bfloat16": np.array([1.5, -3e38, 0.1], ml_dtypes.bfloat16),
    "int8": np.array([-128, 127, 0], np.int8),
    "int16": np.array([-32768, 32767], np.int16),
    "int32": np.array(7, np.int32),
    "int64": np.array([[-(2**63), 2**63 - 1]]),
    "uint8": np.arange(256, dtype=np.uint8).reshape(2, 128),
    "uint16": np.array([0, 65535], np.uint16),
    "uint32": np.array([0, 2**32 - 1], np.uint32),
    "uint64": np.array([0, 2**64 - 1], np.uint64),
    "bool": np.array([[True], [False]]),
    "complex64": np.array([1 + 2j, -3.5j], np.complex64),
    "complex128": np.array([[1e300 - 2j]]),
    "string": np.array([[b"", "\u00e4".encode()], [b"\x00\xff\x00", b"x" * 300]], np.object_),
    "empty": np.zeros((0, 4), np.float32),
    "empty string": np.zeros((0,), np.object_),
}


def assert_same(got: Any, want: Any) -> None:
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("content", [True, False], ids=["content", "values"])
@pytest.mark.parametrize("name", ARRAYS)
def test_tensorflow_reads_what_we_write(name: str, content: bool) -> None:
    proto = to_proto(ARRAYS[name], content=content)
    theirs = tf.make_ndarray(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))
    assert_same(theirs, ARRAYS[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_we_read_what_tensorflow_writes(name: str) -> None:
    theirs = tf.make_tensor_proto(ARRAYS[name])
    assert_same(from_proto(TensorProto.FromString(theirs.SerializeToString())), ARRAYS[name])
    assert_same(from_proto(theirs), ARRAYS[name])


@pytest.mark.parametrize("content", [True, False], ids=["content", "values"])
@pytest.mark.parametrize("name", ARRAYS)
def test_round_trip(name: str, content: bool) -> None:
    got = from_proto(to_proto(ARRAYS[name], content=content))
    assert_same(got, ARRAYS[name])
    assert got.flags.writeable


@pytest.mark.parametrize("dtype", [k for k in ARRAYS if "empty" not in k])
def test_too_few_values_repeat_the_last_none_gives_zeros_surplus_is_ignored(dtype: str) -> None:
    number = tensors.dtype_number(dtype)
    for count in (0, 1, 2, 5):
        proto = to_proto(ARRAYS[dtype].ravel()[:1].repeat(count), content=False)
        proto.tensor_shape.dim[0].size = 3
        theirs = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(number)).numpy()
        assert_same(from_proto(proto), theirs)
    mixed = to_proto(ARRAYS[dtype].ravel()[:2], content=False)
    mixed.tensor_shape.dim[0].size = 4
    assert_same(from_proto(mixed), tf.io.parse_tensor(mixed.SerializeToString(), tf.as_dtype(number)).numpy())


def test_content_takes_precedence_over_values() -> None:
    proto = to_proto(np.array([1, 2], np.float32))
    proto.float_val.extend([8, 9])
    assert_same(from_proto(proto), np.array([1, 2], np.float32))


def test_narrow_integers_wrap_as_in_cpp() -> None:
    proto = TensorProto(dtype=tensors.dtype_number("int8"), int_val=[300, -129])
    proto.tensor_shape.dim.add(size=2)
    assert_same(from_proto(proto), np.array([44, 127], np.int8))


def test_string_content_has_lengths_and_then_bytes() -> None:
    proto = TensorProto(dtype=7, tensor_content=b"\x01\xac\x02" + b"a" + b"b" * 300)
    proto.tensor_shape.dim.add(size=2)
    assert from_proto(proto).tolist() == [b"a", b"b" * 300]


def test_strings_can_be_written_as_content() -> None:
    texts = np.array([[b"ab"], [b"c"]], np.object_)
    proto = to_proto(texts, content=False, string_content=True)
    assert (proto.tensor_content, len(proto.string_val)) == (b"\x02\x01abc", 0)
    for array in (texts, ARRAYS["string"], ARRAYS["empty string"], np.array([b"x" * 2**14, b"y" * 127, b""], np.object_)):
        proto = to_proto(array, string_content=True)
        assert_same(from_proto(proto), array)
        assert_same(tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy(), array)
    assert to_proto(b"", string_content=True).tensor_content == b"\0"
    assert from_proto(to_proto(b"\0", string_content=True)).item() == b"\0"


@pytest.mark.parametrize("content", [b"\x01", b"\x01\x05ab", b"\xff\xff\xff\xff\xff\xff", b"\x01\x01abc"])
def test_broken_string_content_is_an_error(content: bytes) -> None:
    proto = TensorProto(dtype=7, tensor_content=content)
    proto.tensor_shape.dim.add(size=2)
    with pytest.raises(TensorError, match="tensor_content"):
        from_proto(proto)


def test_content_of_another_size_is_an_error() -> None:
    proto = to_proto(np.zeros(3, np.int64))
    proto.tensor_shape.dim[0].size = 4
    with pytest.raises(TensorError, match="24 bytes, not 32"):
        from_proto(proto)


def test_unknown_shapes_are_errors() -> None:
    proto = to_proto(np.zeros(3, np.int64))
    proto.tensor_shape.dim[0].size = -1
    with pytest.raises(TensorError, match="not fully known"):
        from_proto(proto)


def test_unknown_rank_without_dims_is_a_scalar() -> None:
    proto = TensorProto(dtype=1, float_val=[3], tensor_shape={"unknown_rank": True})
    assert_same(from_proto(proto), tf.io.parse_tensor(proto.SerializeToString(), tf.float32).numpy())


def _parsed(proto: Any) -> Any:
    return tf.raw_ops.ParseTensor(serialized=proto.SerializeToString(), out_type=proto.dtype).numpy()


@pytest.mark.parametrize("number", [11, 12, 13, 15, 16, 24, 25, 26, 27, 28, 29, 30, 31, 32])
def test_dtypes_that_only_tensorflow_has_are_read(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tf.as_dtype(number).name
    field = "float8_val" if name.startswith("float8") else "int_val"
    for values in (b"", b"\x07", b"\x01\x31\x02\x03"):
        proto = TensorProto(dtype=number, **{field: values})
        proto.tensor_shape.dim.add(size=3)
        got, want = from_proto(proto), _parsed(proto)
        assert tensors.array_dtype_name(got) == name
        # TensorFlow returns quantized values as plain integers, and 4-bit values without the higher bits.
        np.testing.assert_array_equal(got[name] if got.dtype.names else got, want)
    proto = TensorProto(dtype=number, tensor_shape=proto.tensor_shape)
    proto.tensor_content = b"\x01\x02\x03" * want.dtype.itemsize
    assert from_proto(proto).tobytes() == proto.tensor_content
    monkeypatch.setattr(tensors, "_ml_dtype", lambda name: None)
    bits = from_proto(proto)
    assert (tensors.array_dtype_name(bits), bits.dtype.names) == (name, (name,))
    with pytest.raises(TensorError, match=name):
        to_proto(bits)
    proto.tensor_content += b"\0"
    with pytest.raises(TensorError, match="tensor_content"):
        from_proto(proto)


def test_variants_without_values_have_dtype_and_shape() -> None:
    proto = TensorProto(dtype=21)
    proto.tensor_shape.dim.add(size=2)
    assert (tensors.array_dtype_name(from_proto(proto)), from_proto(proto).shape) == ("variant", (2,))
    proto.variant_val.add(type_name="int")
    with pytest.raises(TensorError, match="variant"):
        from_proto(proto)


def test_booleans_in_content_must_be_0_or_1() -> None:
    proto = TensorProto(dtype=10, tensor_content=b"\0\1")
    proto.tensor_shape.dim.add(size=2)
    assert_same(from_proto(proto), _parsed(proto))
    proto.tensor_content = b"\0\2"
    with pytest.raises(TensorError, match="byte 2"):
        from_proto(proto)
    with pytest.raises(tf.errors.InvalidArgumentError):
        _parsed(proto)


def test_errors_name_types_that_no_array_can_hold() -> None:
    with pytest.raises(TensorError, match="DT_RESOURCE"):
        from_proto(TensorProto(dtype=20))
    with pytest.raises(TensorError, match="DT_INVALID"):
        from_proto(TensorProto())
    with pytest.raises(TensorError, match="datetime64"):
        to_proto(np.array(["2020-01-01"], "datetime64[D]"))
    with pytest.raises(TensorError, match="void"):
        to_proto(np.zeros(2, [("float32", np.float32), ("y", np.int8)]))
    with pytest.raises(TensorError, match="None"):
        to_proto(np.array(["a", None], np.object_))


def test_dtype_names_are_those_of_tensorflow() -> None:
    values = enum("tensorflow.DataType").values_by_name
    for name, constant in (("float32", "DT_FLOAT"), ("bfloat16", "DT_BFLOAT16"), ("string", "DT_STRING")):
        assert tensors.dtype_number(name) == values[constant].number
        assert tensors.dtype_name(values[constant].number) == name
        assert tf.as_dtype(values[constant].number).name == name


def test_unicode_and_bytes_arrays_are_strings() -> None:
    assert from_proto(to_proto(np.array(["ä", "bc"]))).tolist() == ["ä".encode(), b"bc"]
    assert from_proto(to_proto(np.array([b"a", b"bc"]))).tolist() == [b"a", b"bc"]
    assert from_proto(to_proto("text")).item() == b"text"
    assert from_proto(to_proto([b"ends in\0", b"\0\0"])).tolist() == [b"ends in\0", b"\0\0"]
    assert from_proto(to_proto(b"\0")).item() == b"\0"


def test_big_endian_and_strided_arrays_are_written_in_order() -> None:
    strided = np.arange(12, dtype=">f4").reshape(3, 4).T[::2]
    assert_same(from_proto(to_proto(strided)), strided.astype(np.float32))
    assert_same(from_proto(to_proto(strided, content=False)), strided.astype(np.float32))


def test_float32_is_rounded_to_bfloat16_as_ml_dtypes_does() -> None:
    halves = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF], np.uint32).view(np.float32)  # ties
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1e-40], np.float32)
    values = np.concatenate([halves, special, RNG.normal(size=1000).astype(np.float32)])
    got = tensors.bfloat16_from_float32(values)
    want = values.astype(ml_dtypes.bfloat16)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))


def test_without_ml_dtypes_bfloat16_is_flagged_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    want = ARRAYS["bfloat16"]
    monkeypatch.setattr(tensors, "_ml_dtype", lambda name: None)
    for content in (True, False):
        got = from_proto(to_proto(want, content=content))
        assert isinstance(got, BFloat16Bits)
        assert_same(np.asarray(got), want.view(np.uint16))
        assert tensors.array_dtype_name(got) == "bfloat16"
        assert to_proto(got, content=content) == to_proto(want, content=content)
        assert_same(bfloat16_to_float32(got), want.astype(np.float32))
    assert to_proto(np.asarray(bfloat16_from_bits(np.zeros(1, np.uint16)))).dtype == 17
    assert_same(bfloat16_to_float32(want), want.astype(np.float32))


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int32", "int64", "uint8", "uint64", "bool", "complex64", "complex128"]
)
def test_large_arrays_are_written_to_their_field_as_small_ones_are(dtype: str) -> None:
    array = (np.arange(150_000) % 251).reshape(3, -1).astype(dtype)
    large, small = to_proto(array, content=False), to_proto(array[:, :2], content=False)
    assert np.array_equal(from_proto(large), array)
    assert not large.tensor_content
    assert [field.name for field, _ in large.ListFields()] == [field.name for field, _ in small.ListFields()]
