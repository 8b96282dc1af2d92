"""Large JSON is read and written in processes of its own, which can be ended and whose memory ends with them.

Python's JSON parser holds the interpreter's lock and cannot be stopped. A thread that reads 100 MB keeps all other requests
waiting, goes on after its client has got a 504, and leaves gigabytes in the heap.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from serving.protocol.open_inference.json_codec import InferenceHead, RequestedOutput
from serving.protocol.open_inference.tensors import Tensor
from serving.protocol.status import Code, StatusError
from serving.protocol.tensors import Array
from serving.server.config.options import ServerOptions
from serving.server.rest_api.answers import Answers
from serving.server.rest_api.errors import TooLargeError
from serving.server.rest_api.frames import Buffer, pack, receive, send, unpack

_RECYCLED = 2**22
"""A process that has worked on more bytes than this for one request is ended, and its memory with it."""
_EXPANSION = 32
"""Bytes of memory per byte of JSON that almost no body needs: an empty list takes 64 for three characters."""
_POLL_SECONDS = 0.05
_END_SECONDS = 5.0


class Cancellation:
    """Tells the work for one request to stop: its client has gone, or has got a 504."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._process: CodecProcess | None = None

    def cancel(self) -> None:
        """End the process that works for the request, and let `check` raise from now on."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._process.kill()

    def check(self) -> None:
        """Raise if the request was cancelled.

        Raises:
            StatusError: CANCELLED.
        """
        if self._is_cancelled:
            raise StatusError(Code.CANCELLED, "The request was cancelled.")

    def attach(self, process: CodecProcess | None) -> None:
        """Set the process that `cancel` ends; None for no process.

        Raises:
            StatusError: CANCELLED: the request was cancelled before.
        """
        with self._lock:
            if process is not None:
                self.check()
            self._process = process


class CodecProcess:
    """A running `serving.server.rest_api.codec_child`.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.codec_child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0,
        )  # fmt: skip

    def call(self, header: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> tuple[dict[str, Any], list[bytearray]]:
        """Send a message and return its answer.

        Raises:
            StatusError: the answer is an error, or the process has failed.
            MemoryError: the process does not have enough memory.
        """
        assert self._process.stdin and self._process.stdout
        try:
            send(self._process.stdin, header, buffers)  # type: ignore[arg-type]
            answer, data = receive(self._process.stdout)  # type: ignore[arg-type]
        except (OSError, EOFError) as exc:
            raise self._died() from exc
        if "out_of_memory" in answer:
            self.kill()
            raise MemoryError
        if "error" in answer:
            code, message = answer["error"]
            raise StatusError(Code(code), message)
        return answer, data

    def _died(self) -> Exception:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        if code > 0:
            return StatusError(Code.INTERNAL, "The process that reads and writes JSON has failed; the log has its error.")
        return MemoryError()  # ended by a signal, such as the system's when it has no memory

    @property
    def is_running(self) -> bool:
        """Whether the process can take another job."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once; a call in progress fails."""
        self._process.kill()

    def close(self) -> None:
        """End the process and wait until it has ended."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class CodecProcesses:
    """Lends processes to requests. They are started when they are first needed.

    Together they may take `max_decoded_bytes` of memory. Up to `max_large_bodies` work at once, each with its part of that;
    those on bodies for which the part may not suffice work alone, with all of it.

    Attributes:
        options: the server's options.
        answers: counts the answers that wait for a process or are being sent.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.answers = Answers(options.max_decoded_bytes)
        self._parts = self._free = max(options.max_large_bodies, 1)
        self._changed = threading.Condition()
        self._waiting: deque[Cancellation] = deque()
        self._idle: list[CodecProcess] = []
        self._is_stopped = False

    def lend(self, cancellation: Cancellation, size: int) -> Lease:
        """Wait for a process, in the order of the calls, and lend it until the lease is closed.

        Args:
            cancellation: ends the process if the request is cancelled.
            size: bytes that the process has to read or write.

        Raises:
            StatusError: CANCELLED: the request was cancelled while it waited; UNAVAILABLE: no process can be started.
        """
        part = self.options.max_decoded_bytes // self._parts
        parts = 1 if size * _EXPANSION <= part else self._parts
        self._wait(cancellation, parts)
        try:
            process = self._take()
            try:
                cancellation.attach(process)
            except StatusError:
                process.close()
                raise
        except BaseException:
            self._give(parts)
            raise
        return Lease(self, process, cancellation, Job(size, parts, part * parts))

    def _wait(self, cancellation: Cancellation, parts: int) -> None:
        with self._changed:
            self._waiting.append(cancellation)
            try:
                while self._waiting[0] is not cancellation or self._free < parts:
                    self._changed.wait(_POLL_SECONDS)
                    cancellation.check()
                self._free -= parts
            finally:
                self._waiting.remove(cancellation)
                self._changed.notify_all()

    def _give(self, parts: int) -> None:
        with self._changed:
            self._free += parts
            self._changed.notify_all()

    def _take(self) -> CodecProcess:
        with self._changed:
            while self._idle:
                process = self._idle.pop()
                if process.is_running:
                    return process
                process.close()
        try:
            return CodecProcess()
        except OSError as exc:
            raise StatusError(Code.UNAVAILABLE, f"No process can be started to read the request: {exc}.") from exc

    def take_back(self, process: CodecProcess, job: Job) -> None:
        """Keep a process for the next request, or end it if it has worked on many bytes."""
        with self._changed:
            is_kept = process.is_running and job.size <= _RECYCLED and not self._is_stopped
            if is_kept:
                self._idle.append(process)
        if not is_kept:
            process.close()
        self._give(job.parts)

    def stop(self) -> None:
        """End the idle processes; those that are lent end when they come back."""
        with self._changed:
            self._is_stopped = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()


@dataclass(frozen=True)
class Job:
    """The work that a process is lent for.

    Attributes:
        size: bytes that it reads or writes.
        parts: parts of `max_decoded_bytes` that it may take.
        memory: the same in bytes.
    """

    size: int
    parts: int
    memory: int


class Lease:
    """A process that works for one request until the end of a `with` block."""

    def __init__(self, processes: CodecProcesses, process: CodecProcess, cancellation: Cancellation, job: Job) -> None:
        self._processes = processes
        self._process = process
        self._cancellation = cancellation
        self._job = job

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancellation.attach(None)
        if kind is not None and not issubclass(kind, StatusError):
            self._process.kill()
        self._processes.take_back(self._process, self._job)

    def read_predict(self, body: Buffer, *, gzipped: bool) -> RemoteBody:
        """Parse the body of `:predict`; as `serving.protocol.json_codec.read_predict`."""
        answer, _ = self._call("read_predict", (body,), gzipped=gzipped, max_nesting=self._processes.options.max_nesting)
        return RemoteBody(self, answer["signature_name"], answer["is_row"])

    def read_examples(self, body: Buffer, message: Any, *, gzipped: bool) -> str:
        """Read the examples of a body; as `serving.protocol.json_examples.read_examples`."""
        nesting = self._processes.options.max_nesting
        answer, (data,) = self._call("read_examples", (body,), gzipped=gzipped, max_nesting=nesting)
        message.ParseFromString(bytes(data))
        return str(answer["signature_name"])

    def tensors(self, inputs: Mapping[str, int]) -> dict[str, Array]:
        """Return the tensors of the body that `read_predict` has parsed."""
        answer, data = self._call("tensors", inputs=dict(inputs))
        return unpack(answer["arrays"], data)

    def write_predictions(self, outputs: Mapping[str, Array], *, row: bool) -> bytearray:
        """Return the body of a reply; as `serving.protocol.json_codec.write_predictions`."""
        arrays, buffers = pack(outputs)
        _, (text,) = self._call("write_predictions", buffers, arrays=arrays, row=row)
        return text

    def read_inference(
        self, body: Buffer, json_length: int | None, *, gzipped: bool
    ) -> tuple[InferenceHead, list[Tensor]]:
        """Read an inference request; as `read_head` and `read_tensors` of `serving.protocol.open_inference.json_codec`."""
        nesting = self._processes.options.max_nesting
        answer, data = self._call("read_inference", (body,), gzipped=gzipped, json_length=json_length, max_nesting=nesting)
        outputs = tuple(RequestedOutput(name, parameters) for name, parameters in answer["outputs"])
        arrays = unpack(answer["arrays"], data)
        tensors = [Tensor(name, datatype, arrays[name]) for name, datatype in answer["datatypes"].items()]
        return InferenceHead(answer["id"], answer["parameters"], (), outputs), tensors

    def write_inference(
        self, members: Mapping[str, str], outputs: Mapping[str, Array], datatypes: Mapping[str, str], binary: Sequence[str]
    ) -> tuple[bytearray, int | None]:
        """Return the body of a reply to an inference; as `serving.protocol.open_inference.json_codec.write_answer`."""
        arrays, buffers = pack(outputs)
        answer, (body,) = self._call(
            "write_inference", buffers, members=members, arrays=arrays, datatypes=datatypes, binary=binary
        )
        return body, answer["json_length"]

    def _call(self, job: str, buffers: Sequence[Buffer] = (), **fields: Any) -> tuple[dict[str, Any], list[bytearray]]:
        try:
            return self._process.call({"job": job, "memory": self._job.memory, **fields}, buffers)
        except MemoryError as exc:
            self._cancellation.check()  # a process that was ended for its request did not run out of memory
            raise TooLargeError(
                f"As JSON, the request or its answer needs more than {self._job.memory} bytes of memory; "
                "--max_decoded_bytes sets this limit."
            ) from exc


class RemoteBody:
    """A body of `:predict` that a process has parsed; as `serving.protocol.json_codec.PredictBody`."""

    def __init__(self, lease: Lease, signature_name: str, is_row: bool) -> None:
        self._lease = lease
        self.signature_name = signature_name
        self.is_row = is_row

    def tensors(self, inputs: Mapping[str, int]) -> dict[str, Array]:
        """Return the request's arrays by input name."""
        return self._lease.tensors(inputs)
