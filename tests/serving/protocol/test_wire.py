"""Protobuf's wire format, compared with protobuf's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.protocol import wire
from serving.protocol.messages import message
from serving.protocol.wire import UnusualError, fields, read_varints, repeated_bytes, signed, varint, write_varints

TensorProto = message("tensorflow.TensorProto")
EDGES = [0, 1, 127, 128, 300, 2**31 - 1, 2**32, 2**63 - 1, -1, -128, -(2**31), -(2**63)]


def packed(values: list[int]) -> bytes:
    data = TensorProto(int64_val=values).SerializeToString()
    return b"".join(bytes(field.value) for field in fields(memoryview(data)))


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1))))
def test_varints_are_those_of_protobuf(values: list[int]) -> None:
    array = np.array(values, np.int64)
    data = packed(values)
    assert b"".join(write_varints(array)) == data
    assert read_varints(memoryview(data), np.int64, len(values)).tolist() == values
    assert read_varints(memoryview(data), np.int64, 2).tolist() == values[:2]
    assert read_varints(memoryview(data), np.uint8, len(values)).tolist() == array.astype(np.uint8).tolist()
    assert read_varints(memoryview(data), np.bool_, len(values)).tolist() == [value != 0 for value in values]


@pytest.mark.parametrize("bound", [100, 2**14, 2**63 - 1])
def test_varints_across_chunks_are_complete(bound: int) -> None:
    array = np.random.default_rng(3).integers(0, bound, 300_000)
    data = b"".join(write_varints(array))
    assert data == packed(array.tolist())
    np.testing.assert_array_equal(read_varints(memoryview(data), np.int64, array.size), array)


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 10 + b"\x01", b"\xff" * 9 + b"\x02", b"\xff" * 100_000])
def test_damaged_varints_are_left_to_protobuf(data: bytes) -> None:
    with pytest.raises(UnusualError):
        read_varints(memoryview(data), np.int64, 100)
    with pytest.raises(UnusualError):
        while data:
            data = data[varint(memoryview(data), 0)[1] :]


def test_fields_have_number_type_value_and_start() -> None:
    data = TensorProto(dtype=1, float_val=[1.5], version_number=-1).SerializeToString()
    got = [(field.number, field.wire_type, field.start) for field in fields(memoryview(data))]
    assert got == [(1, wire.VARINT, 0), (3, wire.VARINT, 2), (5, wire.BYTES, 13)]
    assert [signed(field.value) for field in fields(memoryview(data)) if field.number == 3] == [-1]


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05abc", b"\x00\x01", b"\x0b\x0c", b"\x0d\x00", b"\x08\x01" * 10_001])
def test_damaged_or_too_many_fields_are_left_to_protobuf(data: bytes) -> None:
    with pytest.raises(UnusualError):
        list(fields(memoryview(data)))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_repeated_bytes_are_those_of_protobuf(values: list[bytes]) -> None:
    data = TensorProto(string_val=values).SerializeToString()
    assert repeated_bytes(data, 8, len(values)) == values
    damaged: list[Any] = [data + b"\x42", data + b"\x42\x05a", data + b"\x08\x01", data + b"\x42\xff"]
    for other in damaged:
        with pytest.raises(UnusualError):
            repeated_bytes(other, 8, len(values) + 1)
    if values:
        with pytest.raises(UnusualError):
            repeated_bytes(data, 8, len(values) - 1)
