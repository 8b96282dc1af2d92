"""The process that reads and writes large JSON, seen from inside; `test_codec_process.py` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from io import FileIO

import numpy as np
import pytest

from serving.server.rest_api.codec_child import Codec, run
from serving.server.rest_api.frames import pack, receive, send

HEAVY = ("tensorflow", "grpc", "aiohttp", "asyncio", "torch", "bundler")


def read(body: bytes, **fields: object) -> tuple[dict[str, object], list[bytearray]]:
    header = {"job": "read_predict", "memory": 2**30, "gzipped": False, "max_nesting": 128, **fields}
    return header, [bytearray(body)]


def test_it_imports_nothing_heavy() -> None:
    """It must start quickly, and its memory must be that of the body."""
    code = f"import sys, serving.server.rest_api.codec_child; print([m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"


def test_tensors_are_those_of_the_last_body() -> None:
    codec = Codec()
    codec.answer(*read(b'{"inputs": [1]}'))
    assert codec.answer(*read(b'{"inputs": [2, 3]}')) == ({"signature_name": "", "is_row": False}, ())
    answer, _ = codec.answer({"job": "tensors", "memory": 1, "inputs": {"x": 1}}, [])
    assert answer == {"arrays": [["x", "<f4", [2]]]}


def test_limit_is_set_before_each_job() -> None:
    limits: list[int] = []
    codec = Codec(limits.append)
    codec.answer(*read(b"{}", memory=100))
    codec.answer(*read(b"{}", memory=200))
    assert limits == [100, 200]


def test_lack_of_memory_is_an_answer() -> None:
    def limit(size: int) -> None:
        raise MemoryError

    assert Codec(limit).answer(*read(b"{}")) == ({"out_of_memory": True}, ())


def test_error_is_an_answer() -> None:
    answer, _ = Codec().answer(*read(b"["))
    assert answer == {"error": [3, "JSON Parse error: Invalid value. at offset: 1"]}


@pytest.mark.parametrize("row", [True, False])
def test_messages_are_answered_until_the_pipe_is_closed(row: bool) -> None:
    (requests, to_child), (from_child, answers) = os.pipe(), os.pipe()
    arrays, buffers = pack({"y": np.ones((1, 2), np.float32)})
    with FileIO(to_child, "wb") as pipe:
        for _ in range(2):
            send(pipe, {"job": "write_predictions", "memory": 1, "arrays": arrays, "row": row}, buffers)
    with FileIO(requests, "rb") as source, FileIO(answers, "wb") as out:
        run(Codec(), source, out)
    with FileIO(from_child, "rb") as pipe:
        for _ in range(2):
            _, (text,) = receive(pipe)
            assert b"predictions" in text if row else b"outputs" in text
