"""`python -m serving.server.rest_api.codec_child`: a process that reads and writes large JSON for the server.

It gets messages on its standard input and answers each on its standard output (`serving.server.rest_api.frames`). It imports
NumPy and the protocol only, so that it starts in about 0.2 s and its memory is its own. Each message limits the memory that
the process may take on top of what it has when it starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from serving.protocol.json_codec import PredictBody, read_predict, write_predictions
from serving.protocol.json_examples import read_examples
from serving.protocol.messages import serving_message
from serving.protocol.open_inference.json_codec import DAMAGED, read_head, read_tensors, split_body, write_answer
from serving.protocol.open_inference.tensors import Tensor
from serving.protocol.status import StatusError, invalid_argument
from serving.server.models.memory import release
from serving.server.rest_api.frames import Buffer, Pipe, pack, receive, send, unpack
from serving.server.rest_api.gzip_body import unpacked

Answer = tuple[dict[str, Any], Sequence[Buffer]]
_PRIORITY = 5
"""The process leaves the cores to the server's small requests where both need them."""


class Codec:
    """Answers messages. It keeps the last parsed body until its tensors are read.

    Args:
        limit: limits the memory of this process to that many more bytes than at its start.
    """

    def __init__(self, limit: Callable[[int], None] = lambda size: None) -> None:
        self._limit = limit
        self._body: PredictBody | None = None

    def answer(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        """Answer a message with a header and buffers; the error of a request and a lack of memory are answers too."""
        jobs: dict[str, Callable[[dict[str, Any], list[bytearray]], Answer]] = {
            "read_predict": self._read_predict,
            "tensors": self._tensors,
            "read_examples": self._read_examples,
            "write_predictions": self._write_predictions,
            "read_inference": self._read_inference,
            "write_inference": self._write_inference,
        }
        try:
            self._limit(header["memory"])
            return jobs[header["job"]](header, buffers)
        except StatusError as exc:
            return {"error": [int(exc.code), exc.message]}, ()
        except MemoryError:
            return {"out_of_memory": True}, ()

    def rest(self) -> None:
        """Return the memory of the last job to the system, unless a parsed body is kept."""
        if self._body is None:
            release()

    def _read_predict(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        self._body = None
        self._body = read_predict(_content(header, buffers), header["max_nesting"])
        return {"signature_name": self._body.signature_name, "is_row": self._body.is_row}, ()

    def _tensors(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        body, self._body = self._body, None
        assert body is not None
        arrays, data = pack(body.tensors(header["inputs"]))
        return {"arrays": arrays}, data

    def _read_examples(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        message = serving_message("Input")()
        name = read_examples(_content(header, buffers), message, header["max_nesting"])
        return {"signature_name": name}, (message.SerializeToString(),)

    def _write_predictions(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        return {}, (write_predictions(unpack(header["arrays"], buffers), row=header["row"]),)

    def _read_inference(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        body = _content(header, buffers)
        if header["gzipped"] and not body:
            raise invalid_argument(DAMAGED)
        text, binary = split_body(body, header["json_length"])
        head = read_head(text, header["max_nesting"])
        tensors = read_tensors(head, binary)
        arrays, data = pack({tensor.name: tensor.values for tensor in tensors})
        datatypes = {tensor.name: tensor.datatype for tensor in tensors}
        described = {"id": head.id, "parameters": head.parameters, "outputs": head.outputs}
        return {**described, "arrays": arrays, "datatypes": datatypes}, data

    def _write_inference(self, header: dict[str, Any], buffers: list[bytearray]) -> Answer:
        arrays, datatypes = unpack(header["arrays"], buffers), header["datatypes"]
        tensors = [Tensor(name, datatypes[name], array) for name, array in arrays.items()]
        body, json_length = write_answer(header["members"], tensors, header["binary"])
        return {"json_length": json_length}, (body,)


def _content(header: dict[str, Any], buffers: list[bytearray]) -> bytes:
    body = buffers.pop()
    return unpacked(body) if header["gzipped"] else bytes(body)


def run(codec: Codec, requests: Pipe, answers: Pipe) -> None:
    """Answer messages until the pipes are closed."""
    with suppress(EOFError, OSError):
        while True:
            send(answers, *codec.answer(*receive(requests)))
            codec.rest()


class MemoryLimit:
    """Limits the memory of this process, which also becomes the first that the system ends when it has none left."""

    def __init__(self) -> None:
        status = Path("/proc/self/status").read_text("ascii")
        self._used = int(status.partition("VmData:")[2].split()[0]) * 1024
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", "ascii")

    def __call__(self, size: int) -> None:
        """Let the process take at most `size` bytes more than it had at first."""
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = self._used + size
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> int:
    """Answer messages on standard input and output. Return the exit code."""
    answers = os.dup(1)
    os.dup2(2, 1)  # nothing but answers may be written there
    with suppress(OSError, AttributeError):
        os.nice(_PRIORITY)
    codec = Codec(MemoryLimit()) if sys.platform.startswith("linux") else Codec()  # other systems do not enforce the limit
    with FileIO(0, "rb", closefd=False) as requests, FileIO(answers, "wb") as out:
        run(codec, requests, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
