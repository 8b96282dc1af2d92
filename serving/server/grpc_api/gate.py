"""How many gRPC calls the server holds at once, and how much memory their messages may take.

grpc.server gives a call its thread before the call's message has arrived, and keeps a call until its client has read the
answer. A client that opens calls and then sends or reads nothing would hold every thread. Here threads are plentiful, a
semaphore bounds the calls that run, and among calls that wait for their client the oldest are cancelled when there are many, or
when the process has grown by too much. A client that does its part at once is never among them.

How much of a message has arrived is known to grpc's core only, so messages on their way are bounded by the size of the process.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.protocol.status import Code, StatusError
from serving.server.methods.copies import one_at_a_time
from serving.server.models import memory
from serving.server.observability.tracing import mark

SMALL = 64 * 1024
"""Most bytes of a message that is not counted: all calls together can hold little with such messages."""

_LARGE = 8 * 2**20
"""Bytes from which on freed memory is returned to the system."""

_COPIES = 3
"""What a large message takes while its call runs: its bytes, the parsed message, and the arrays."""

_DRAIN_SECONDS = 2.0
"""How long a stopping server waits for a message that has not arrived."""

_TICK = 0.1
_SLOW_SECONDS = 0.5
"""A message that takes longer to arrive is large, or its client slow; only such calls are cancelled when memory is short."""


class Call:
    """A gRPC call from the arrival of its head until its client has read the answer or is gone.

    Attributes:
        context: grpc's own object for the call.
        since: when it began to wait for its client, in seconds of the monotonic clock.
        reserved: bytes that are reserved for it.
        unread: bytes of its answer.
        ended: whether it has ended.
        counts: whether it is one of the calls whose number is limited; refused and cancelled ones are not.
    """

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.context = context
        self.since = 0.0
        self.reserved = 0
        self.unread = 0
        self.ended = False
        self.counts = False


class Gate:
    """Counts calls and the bytes they hold.

    Args:
        calls: calls at once, those that wait included.
        running: calls that run at once.
        held_bytes: bytes of large messages that the running calls may hold, and as many that wait.
        write_seconds: how long a client may take to read its answer.

    Attributes:
        running: held by a call while it runs.
    """

    def __init__(self, *, calls: int, running: int, held_bytes: int, write_seconds: float) -> None:
        self.running: AbstractContextManager[Any] = threading.BoundedSemaphore(running)
        self._calls = calls
        self._write_seconds = write_seconds
        self._budget = Budget(held_bytes)
        self._lock = threading.Lock()
        self._count = 0
        self._waiting: dict[Call, None] = {}  # the order is that of their age
        self._unread: dict[Call, None] = {}
        self._unread_bytes = 0
        self._most_growth = 2 * held_bytes
        self._idle_size = 0
        self._draining_since = math.inf
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._run_watch, name="grpc-watch", daemon=True)

    def start(self) -> None:
        """Begin to cancel calls whose clients do not read."""
        self._watch.start()

    def drain(self) -> None:
        """Cancel calls whose message does not arrive soon, so that the server can stop."""
        self._draining_since = time.monotonic()

    @property
    def is_drained(self) -> bool:
        """Whether no call has been there for a while since `drain`, so that none can come."""
        return not self._count and time.monotonic() - self._draining_since > 2 * _DRAIN_SECONDS

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def enter(self, context: grpc.ServicerContext) -> Call:
        """Count a call until it ends.

        Raises:
            StatusError: RESOURCE_EXHAUSTED: there are too many calls.
        """
        call = Call(context)
        with self._lock:
            if self._count < self._calls:
                self._count += 1
                call.counts = True
        if not context.add_callback(lambda: self._leave(call)):
            self._leave(call)
        elif not call.counts:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"The server has {self._calls} calls in progress, the most that --max_concurrent_rpcs allows. Try again later.",
            )
        return call

    def _leave(self, call: Call) -> None:
        with self._lock:
            self._forget(call)
            call.ended = True
            size, call.reserved = call.reserved, 0
        if size:
            self._budget.release(size)
        if max(size, call.unread) >= _LARGE:
            memory.release_soon()

    def _forget(self, call: Call) -> None:
        """Count a call no longer, as it has ended or is about to. The lock must be held."""
        self._count -= call.counts
        call.counts = False
        self._waiting.pop(call, None)
        if call in self._unread:
            del self._unread[call]
            self._unread_bytes -= call.unread

    def _cancel(self, calls: Iterable[Call]) -> None:
        for call in calls:
            with self._lock:
                self._forget(call)
            call.context.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs lack its types

    @contextmanager
    def waiting(self, call: Call) -> Iterator[None]:
        """Mark a call as waiting for its client. If more than half of all calls wait, the oldest is cancelled."""
        call.since = time.monotonic()
        with self._lock:
            self._waiting[call] = None
            oldest = list(islice(self._waiting, 1)) if len(self._waiting) > self._calls // 2 else []
        self._cancel(oldest)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(call, None)

    def receive(self, messages: Iterator[bytes], call: Call) -> bytes | None:
        """Return a call's message; None if the client ends the call without one."""
        with self.waiting(call):
            return next(messages, None)

    def reserve(self, call: Call, size: int) -> None:
        """Raise what a call reserves to `size` bytes until it ends; wait until the other calls hold little enough.

        Raises:
            StatusError: RESOURCE_EXHAUSTED: too many bytes wait already.
        """
        if size <= max(call.reserved, SMALL):
            return
        with self._lock:
            held, call.reserved = call.reserved, 0
        self._budget.exchange(held, size)
        with self._lock:
            if not call.ended:
                call.reserved = size
                return
        self._budget.release(size)  # the client left while the call waited

    def answered(self, call: Call, size: int) -> None:
        """Begin the time in which the client has to read an answer of `size` bytes.

        If a quarter of all calls have unread answers, or if these are twice as large as what running calls may hold, the oldest
        is cancelled.
        """
        call.since, call.unread = time.monotonic(), size
        with self._lock:
            if not call.ended:
                self._unread[call] = None
                self._unread_bytes += size
            full = len(self._unread) > self._calls // 4 or self._unread_bytes > 2 * self._budget.size
            oldest = list(islice(self._unread, 1)) if full and len(self._unread) > 1 else []
        self._cancel(oldest)

    def _run_watch(self) -> None:
        while not self._closed.wait(_TICK):
            now = time.monotonic()
            with self._lock:
                late = [call for call in self._unread if call.since < now - self._write_seconds]
                slow = [call for call in self._waiting if call.since < now - _SLOW_SECONDS]
            if self._draining_since <= now:
                late += [call for call in slow if call.since < now - _DRAIN_SECONDS]
            self._cancel(late)
            self._watch_memory(slow)

    def _watch_memory(self, slow: list[Call]) -> None:
        """Cancel a quarter of the calls whose messages are slow to arrive, the oldest ones, if the process has grown too much."""
        if not slow and not self._budget.held:
            self._idle_size = memory.resident()
        elif slow and self._idle_size and memory.resident() - self._idle_size > self._most_growth:
            self._cancel(slow[: len(slow) // 4 + 1])
            memory.release()


class Budget:
    """Bytes that may be held at once. Whoever asks for more than all of them gets them when nobody else holds any.

    Args:
        size: the bytes.

    Attributes:
        size: the bytes.
        held: bytes that are held.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self._asked = 0
        self._changed = threading.Condition()

    def exchange(self, held: int, size: int) -> None:
        """Give back `held` bytes and wait for `size`; one who waits holds none, so that two cannot wait for each other.

        Raises:
            StatusError: RESOURCE_EXHAUSTED: as many bytes as there are would wait. `held` is given back.
        """
        self.release(held)
        with self._changed:
            if self._asked and self._asked + size > self.size:
                raise StatusError(
                    Code.RESOURCE_EXHAUSTED,
                    f"Requests of {self._asked:,} bytes wait for memory (--max_decoded_bytes={self.size}). Try again later.",
                )
            self._asked += size
            try:
                while self.held and self.held + size > self.size:
                    self._changed.wait()
            finally:
                self._asked -= size
            self.held += size

    def release(self, size: int) -> None:
        """Give back bytes."""
        with self._changed:
            self.held -= size
            self._changed.notify_all()


Behavior = Callable[[Any, grpc.ServicerContext], Any]


class Guard(grpc.ServerInterceptor):  # type: ignore[type-arg]  # it cannot be subscripted at run time
    """Lets the calls of health and reflection, which grpc's own packages answer, pass the gate too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the handler of a call; one that is not this server's own is guarded."""
        handler = continuation(handler_call_details)
        if handler is None or (handler.request_streaming and not handler.response_streaming):
            return handler  # the server's own methods, see `GrpcServer`
        if not handler.response_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._one(handler.unary_unary, handler.request_deserializer), None, handler.response_serializer
            )
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._many(handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._many(lambda messages, context: handler.unary_stream(next(messages), context)),
            handler.request_deserializer, handler.response_serializer,
        )  # fmt: skip

    def _one(self, behavior: Behavior, deserialize: Callable[[bytes], Any]) -> Behavior:
        def answer(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            return behavior(read_message(self._gate, messages, context, deserialize)[0], context)

        return answer

    def _many(self, behavior: Behavior) -> Behavior:
        """Return a behavior that counts as waiting for its client as long as it lasts."""

        def answer(messages: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._gate.waiting(_entered(self._gate, context)):
                yield from behavior(messages, context)

        return answer


def read_message(
    gate: Gate, messages: Iterator[bytes], context: grpc.ServicerContext, deserialize: Callable[[bytes], Any]
) -> tuple[Any, Call]:
    """Return a call's message, and the call with what the message takes reserved.

    Without a readable message, the call ends with grpc's own status and text; grpc would also log a traceback.
    """
    call = _entered(gate, context)
    data = gate.receive(messages, call)
    mark("wait")
    if data is None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "The call requires exactly one request message.")
    try:
        gate.reserve(call, _COPIES * len(data))
        with one_at_a_time(len(data)):
            mark("decode")
            return deserialize(data), call
    except StatusError as exc:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, exc.message)
    except DecodeError:
        context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")


def _entered(gate: Gate, context: grpc.ServicerContext) -> Call:
    try:
        return gate.enter(context)
    except StatusError as exc:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, exc.message)
