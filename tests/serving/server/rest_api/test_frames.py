"""Messages to and from codec processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO

import numpy as np
import pytest

from serving.server.rest_api.frames import is_sendable, pack, receive, send, unpack


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    read, write = os.pipe()
    with FileIO(read, "rb") as out, FileIO(write, "wb") as into:
        yield out, into


def test_message_is_received_as_it_was_sent(pipe: tuple[FileIO, FileIO]) -> None:
    send(pipe[1], {"name": "half \udcff", "number": 1}, [b"abc", memoryview(bytearray(b""))])
    assert receive(pipe[0]) == ({"name": "half \udcff", "number": 1}, [bytearray(b"abc"), bytearray()])


def test_closed_pipe_is_an_end_of_file(pipe: tuple[FileIO, FileIO]) -> None:
    pipe[1].write(b"\0\0")
    pipe[1].close()
    with pytest.raises(EOFError):
        receive(pipe[0])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(12).reshape(3, 4)[:, ::2],
        np.array(True),
        np.zeros((0, 3), np.int8),
        np.array([[b"a\0", b""], [b"\xff", b"bc"]], np.object_),
        np.empty((0,), np.object_),
    ],
    ids=["floats", "strided", "scalar", "empty", "bytes", "no bytes"],
)
def test_array_is_unpacked_as_it_was_packed(array: np.ndarray) -> None:
    described, buffers = pack({"x": array, "y": np.float64(2.0) * np.ones(1)})
    arrays = unpack(described, [bytearray(memoryview(buffer).cast("B")) for buffer in buffers])
    assert list(arrays) == ["x", "y"]
    assert arrays["x"].dtype == array.dtype
    assert arrays["x"].shape == array.shape
    assert np.array_equal(arrays["x"], array)
    assert arrays["y"].tolist() == [2.0]


def test_text_arrives_as_bytes() -> None:
    described, buffers = pack({"x": np.array(["é"], np.object_)})
    assert unpack(described, [bytearray(buffer) for buffer in buffers])["x"].tolist() == ["é".encode()]


def test_dtypes_that_numpy_does_not_have_are_not_sendable() -> None:
    assert is_sendable(np.zeros(1, np.float16))
    assert not is_sendable(np.zeros(1, [("qint8", np.int8)]))
    assert not is_sendable(np.zeros(1, np.complex64))
