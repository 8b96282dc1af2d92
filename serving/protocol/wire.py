"""Protocol Buffers' wire format, read and written with NumPy.

Python's protobuf makes one object per element of a repeated field, 30 times slower than the bytes can be copied. The functions
here work on the bytes: packed floats are an array already, and varints are decoded many at a time.

Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 begin and end a group, which no message of TensorFlow Serving has."""

MAX_FIELDS = 10_000
"""Most fields that `fields` reads: protobuf's own parser is faster for many small ones."""

_CHUNK = 1 << 16
"""Bytes of varints that are decoded at a time: intermediate arrays stay in the processor's cache."""

_LONGEST = 10
"""Most bytes of a varint."""


class UnusualError(Exception):
    """The bytes are damaged, or are valid in a way that these functions leave to protobuf's own parser."""


class Field(NamedTuple):
    """One field of a serialized message.

    Attributes:
        number: its number.
        wire_type: VARINT, FIXED64, BYTES or FIXED32.
        value: an int for a varint, and a memoryview of the content for the other wire types.
        start: position of the field in the message.
    """

    number: int
    wire_type: int
    value: Any
    start: int


def fields(data: memoryview) -> Iterator[Field]:
    """Yield the fields of a serialized message in order.

    Raises:
        UnusualError: the data are cut, hold a group or more than `MAX_FIELDS` fields.
    """
    at, count, size = 0, 0, len(data)
    while at < size:
        start, count = at, count + 1
        tag, at = varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if not number or count > MAX_FIELDS:
            raise UnusualError
        if wire_type == VARINT:
            value, at = varint(data, at)
            yield Field(number, wire_type, value, start)
            continue
        if wire_type == BYTES:
            length, at = varint(data, at)
        elif wire_type in (FIXED32, FIXED64):
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise UnusualError
        if length > size - at:
            raise UnusualError
        yield Field(number, wire_type, data[at : at + length], start)
        at += length


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the varint at a position, below 2^64, and the position after it.

    Raises:
        UnusualError: the data end within the varint, or it is longer than 64 bits.
    """
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if value >> 64:
                raise UnusualError
            return value, at + place + 1
    raise UnusualError


def repeated_bytes(data: bytes, number: int, limit: int) -> list[bytes]:
    """Return the elements of a `repeated bytes` field whose number is below 16.

    Raises:
        UnusualError: the data hold anything else or more than `limit` elements, or are damaged.
    """
    tag, at, size = number << 3 | BYTES, 0, len(data)
    values: list[bytes] = []
    try:
        while at < size:
            if data[at] != tag or len(values) == limit:
                raise UnusualError
            length, at = data[at + 1], at + 2
            if length >= 0x80:
                length, at = varint(memoryview(data), at - 1)
            if length > size - at:
                raise UnusualError
            values.append(data[at : at + length])
            at += length
    except IndexError as exc:
        raise UnusualError from exc
    return values


def signed(value: int) -> int:
    """Return a varint's value as the int64 that it stands for."""
    return value - (1 << 64) if value >> 63 else value


def as_varint(value: int) -> bytes:
    """Return a non-negative int as a varint."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field_head(number: int, length: int) -> bytes:
    """Return what precedes the content of a field of wire type BYTES: its tag and its length."""
    return as_varint(number << 3 | BYTES) + as_varint(length)


def read_varints(data: memoryview, dtype: Any, limit: int) -> Array:
    """Decode packed varints, each as a C cast to `dtype` does.

    Args:
        data: the content of a packed field.
        dtype: integer or boolean dtype of the result.
        limit: most elements to return; the rest of the data is still checked.

    Raises:
        UnusualError: the data end within a varint, or one is longer than 64 bits.
    """
    raw = np.frombuffer(data, np.uint8)
    if raw.size and raw[-1] >= 0x80:
        raise UnusualError
    count = int(np.count_nonzero(raw < 0x80))
    values = np.empty(min(count, limit), dtype)
    start = filled = 0
    while start < raw.size:
        chunk = raw[start : start + _CHUNK]
        ends = np.flatnonzero(chunk < 0x80)
        if not ends.size:
            raise UnusualError
        start += int(ends[-1]) + 1
        decoded = _decode(chunk, ends)[: values.size - filled]
        values[filled : filled + decoded.size] = decoded.astype(dtype)
        filled += decoded.size
    return values


def _decode(chunk: Array, ends: Array) -> Array:
    """Return the varints that end at the given positions as uint8 if all have one byte, else as uint64.

    The first eight bytes of every varint are loaded as one number, whose groups of 7 bits are then moved together.
    """
    if ends.size == chunk.size:
        return chunk
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > _LONGEST:
        raise UnusualError
    padded = np.zeros(chunk.size + _LONGEST, np.uint8)
    padded[: chunk.size] = chunk
    windows: Array = np.ndarray((chunk.size,), "<u8", buffer=padded.data, strides=(1,))
    values = windows[starts].astype(np.uint64, copy=False)
    values &= _GROUPS_OF_LENGTH[np.minimum(lengths, 8)]
    for width, low, high in _STEPS:
        values = (values & low) | ((values & high) >> width)
    for place in range(8, longest):
        rows = np.flatnonzero(lengths > place)
        groups = (padded[starts[rows] + place] & 0x7F).astype(np.uint64)
        if place == _LONGEST - 1 and groups.max() > 1:
            raise UnusualError
        values[rows] |= groups << np.uint64(7 * place)
    return values


_GROUPS_OF_LENGTH = np.array([0x7F7F7F7F7F7F7F7F & ((1 << 8 * length) - 1) for length in range(9)], np.uint64)
"""The bits of a varint's first eight bytes that hold its value, by its number of bytes."""

_STEPS = tuple(
    (np.uint64(width), np.uint64(low), np.uint64(high))
    for width, low, high in (
        (1, 0x007F007F007F007F, 0x7F007F007F007F00),
        (2, 0x00003FFF00003FFF, 0x3FFF00003FFF0000),
        (4, 0x000000000FFFFFFF, 0x0FFFFFFF00000000),
    )
)
"""How pairs of groups are joined: by how many bits the upper one moves, and the bits of the lower and of the upper ones."""


def write_varints(array: Array) -> Iterator[bytes]:
    """Yield the varints of an array of integers or booleans in pieces; negative ones have ten bytes."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        values = flat[start : start + _CHUNK].astype(np.int64).view(np.uint64)
        if values.max() < 0x80:
            yield values.astype(np.uint8).tobytes()
            continue
        groups = np.empty((values.size, _LONGEST), np.uint8)
        used = np.zeros(groups.shape, np.bool_)
        present: Array = np.ones(values.shape, np.bool_)
        for place in range(_LONGEST):
            used[:, place] = present
            rest = values >> np.uint64(7)
            present = rest != 0
            groups[:, place] = (values & np.uint64(0x7F)).astype(np.uint8) | (present.view(np.uint8) << 7)
            if not present.any():
                break
            values = rest
        yield groups[used].tobytes()


def joined(pieces: Iterable[memoryview | bytes]) -> memoryview:
    """Return several pieces of a packed field as one; a single piece is not copied."""
    parts = list(pieces)
    return memoryview(parts[0]) if len(parts) == 1 else memoryview(b"".join(parts))
