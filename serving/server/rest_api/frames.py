"""Messages between the server and its codec processes: a JSON header and buffers of bytes, over pipes.

Arrays travel as their bytes. Nothing is unpickled: a process that reads hostile bodies cannot make the server run code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving.protocol.tensors import Array

Buffer = bytes | bytearray | memoryview
_LENGTH = struct.Struct(">I")


class Pipe(Protocol):
    """One end of a pipe, without a buffer: io.FileIO."""

    def write(self, data: Buffer, /) -> int | None:
        """Write some of the bytes and return how many."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a part of the buffer and return its size; 0 at the end."""


def send(pipe: Pipe, header: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
    """Write a message.

    Raises:
        OSError: the other end is closed.
    """
    text = json.dumps({**header, "sizes": [memoryview(buffer).nbytes for buffer in buffers]}).encode()
    for buffer in (_LENGTH.pack(len(text)), text, *buffers):
        rest = memoryview(buffer).cast("B")
        while rest.nbytes:
            rest = rest[pipe.write(rest) or 0 :]


def receive(pipe: Pipe) -> tuple[dict[str, Any], list[bytearray]]:
    """Read a message: its header and its buffers.

    Raises:
        EOFError: the other end is closed.
    """
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    header: dict[str, Any] = json.loads(_read(pipe, length))
    return header, [_read(pipe, size) for size in header.pop("sizes")]


def _read(pipe: Pipe, size: int) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest.nbytes:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def is_sendable(array: Array) -> bool:
    """Return whether `pack` takes an array: numbers, booleans, bytes or text, in a dtype of NumPy's own."""
    return array.dtype.kind in "biufO" and array.dtype.isbuiltin == 1


def pack(arrays: Mapping[str, Array]) -> tuple[list[Any], list[Buffer]]:
    """Return arrays as the JSON value and the buffers that `unpack` reads. Text becomes bytes."""
    described: list[Any] = []
    buffers: list[Buffer] = []
    for name, array in arrays.items():
        described.append([name, array.dtype.str, list(array.shape)])
        if array.dtype.kind == "O":
            strings = [value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()]
            buffers += [_bytes(np.array([len(string) for string in strings], np.int64)), b"".join(strings)]
        else:
            buffers.append(_bytes(array))
    return described, buffers


def unpack(described: Iterable[Any], buffers: Sequence[bytearray]) -> dict[str, Array]:
    """Return the arrays that `pack` was given."""
    arrays: dict[str, Array] = {}
    rest = iter(buffers)
    for name, dtype, shape in described:
        if dtype == "|O":
            arrays[name] = _strings(np.frombuffer(next(rest), np.int64), bytes(next(rest))).reshape(shape)
        else:
            arrays[name] = np.frombuffer(next(rest), dtype).reshape(shape)
    return arrays


def _bytes(array: Array) -> memoryview:
    flat = np.ascontiguousarray(array).reshape(-1)
    return memoryview(flat.view(np.uint8))  # type: ignore[arg-type]  # an array is a buffer


def _strings(sizes: Array, data: bytes) -> Array:
    ends = np.cumsum(sizes)
    strings = np.empty(len(sizes), np.object_)
    strings[:] = [data[end - size : end] for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)]
    return strings
