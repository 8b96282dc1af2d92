"""A call of one of the REST interface's protocols: its answer, or the error that it ends with."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias

from serving.protocol.json_codec import write_error
from serving.protocol.status import HTTP_STATUS, Code, StatusError
from serving.protocol.tensors import Array
from serving.server.models.core import ServerCore
from serving.server.observability.request_log import RequestLog
from serving.server.observability.tracing import attached, mark
from serving.server.rest_api.answers import HeldAnswer
from serving.server.rest_api.codec_process import Cancellation, CodecProcesses, Lease
from serving.server.rest_api.errors import LimitError, TooLargeError, shortened
from serving.server.rest_api.exchange import RestRequest
from serving.server.rest_api.gzip_body import MAX_UNPACKED, is_gzipped, unpacked

SMALL_ANSWER = 2**15
"""Most values of an answer that a thread of the server writes as JSON."""
_STRING_BYTES = 16
"""Bytes of a string that take as long to write as a value."""
_NONE: Mapping[str, str] = {}


class Result(NamedTuple):
    """A reply's status, body, whether the connection ends with it, and headers besides those of every reply."""

    code: Code
    status: int
    body: bytes | bytearray
    closes: bool = False
    headers: Mapping[str, str] = _NONE


class LargeAnswer(NamedTuple):
    """Outputs of a model: what counts their bytes, and a function that writes them as JSON."""

    held: HeldAnswer
    write: Callable[[], bytearray | Result]


Writer: TypeAlias = Callable[[Lease, Mapping[str, Array]], bytearray | Result]
"""Writes outputs in a process that is lent."""

Answer: TypeAlias = bytes | Result | LargeAnswer


class BadPathError(StatusError):
    """The version in the path is not an int64; the real server answers with an empty body."""


class Services(NamedTuple):
    """What calls work with.

    Attributes:
        core: the models.
        codecs: processes for large bodies and answers; None reads and writes all of them in the calling thread.
        request_log: logs a sample of the requests; None turns that off.
    """

    core: ServerCore
    codecs: CodecProcesses | None
    request_log: RequestLog | None


class Call(ABC):
    """A call and its answer.

    Attributes:
        model: the model for the metrics; empty until it is known.
        api: the method for the metrics; empty until it is known.
        is_measured: whether the metrics count it.
        started: when the call began, by `time.monotonic`.
    """

    is_measured = True

    def __init__(self, services: Services, request: RestRequest, cancellation: Cancellation) -> None:
        self.core, self.codecs, self.request_log = services
        self.request = request
        self.cancellation = cancellation
        self.model = ""
        self.api = ""
        self.started = time.monotonic()

    @abstractmethod
    def answer(self) -> Answer:
        """Return the body of the reply, or the outputs to write."""

    def begin(self) -> Result | LargeAnswer:
        """Return the reply to the call, its error included, or the outputs to write."""
        return self._run(self._answer)

    def finish(self, answer: LargeAnswer) -> Result:
        """Write a large answer and return the reply."""
        result = self._run(answer.write)
        assert isinstance(result, Result)
        return result

    def _answer(self) -> Answer:
        mark("decode")
        return self.answer()

    def _run(self, work: Callable[[], bytearray | Answer]) -> Result | LargeAnswer:
        try:
            if self.request.trace is None:
                made = work()
            else:
                with attached(self.request.trace):
                    made = work()
        except BadPathError as exc:
            return Result(exc.code, exc.http_status, b"")
        except StatusError as exc:
            error = write_error(shortened(exc.message))
            return Result(exc.code, exc.http_status, error, isinstance(exc, LimitError))
        return made if isinstance(made, Result | LargeAnswer) else Result(Code.OK, HTTP_STATUS[Code.OK], made)

    def small_body(self) -> bytes:
        """Return the body, unpacked."""
        body = self.request.body
        return unpacked(body) if is_gzipped(self.request.headers) else bytes(body)

    def lend(self, lent: ExitStack) -> Lease:
        """Wait for a process that reads the body; it is given back at the end of `lent`.

        Raises:
            StatusError: the body is too large when unpacked, or as `CodecProcesses.lend`.
        """
        assert self.codecs is not None
        limit, size = self.core.options.max_decoded_bytes, self.request.unpacked_size
        if limit < size <= MAX_UNPACKED:
            raise TooLargeError(f"The body has {size} bytes when unpacked; --max_decoded_bytes allows {limit}.")
        return lent.enter_context(self.codecs.lend(self.cancellation, size))

    def later(self, outputs: Mapping[str, Array], write: Writer) -> LargeAnswer:
        """Return an answer that a process writes.

        Args:
            outputs: the arrays of the answer.
            write: writes them in a process that is lent.

        Raises:
            LimitError: there is no room for it beside other answers.
        """
        assert self.codecs is not None
        codecs = self.codecs
        size = sum(array.nbytes for array in outputs.values())
        held = codecs.answers.hold(size)
        # TensorFlow keeps the memory of its outputs for other calls, so that those that wait would let it grow for good.
        waiting = {name: array.copy() for name, array in outputs.items()}

        def work() -> bytearray | Result:
            mark("wait")
            with codecs.lend(self.cancellation, size) as lease:
                mark("encode")
                return write(lease, waiting)

        return LargeAnswer(held, work)


def is_large(outputs: Mapping[str, Array]) -> bool:
    """Return whether an answer takes long to write as JSON."""
    size = 0
    for array in outputs.values():
        size += array.size
        if array.dtype.kind == "O" and size <= SMALL_ANSWER:
            size += sum(map(len, array.flat)) // _STRING_BYTES
    return size > SMALL_ANSWER
