"""The spans of a request: the request itself, and its parts one after the other.

    receive   until the message or body is there       decode   bytes or JSON to arrays     run      the model computes
    wait      for a thread, and for memory             queue    for other requests          encode   arrays to the answer
                                                       batch    with other requests

A part begins where the code calls `mark`, and ends with the next one; waits of less than 50 µs are left out. While no request is
traced, `mark` and `describe` look up one context variable. Without --enable_tracing, OpenTelemetry is not imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

from serving.protocol.status import StatusError
from serving.tracing import names

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Link, Span, StatusCode, Tracer

    Attributes = Mapping[str, str | int]

_NOTHING = nullcontext()
_LONGEST_HEADER = 8192

_WAITS = frozenset({"receive", "wait"})
_NO_WAIT = 50_000
"""A wait of fewer nanoseconds is not worth a span."""

_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Status codes that are the server's fault, for which its span has the status ERROR (semantic conventions, "gRPC")."""


class Part(NamedTuple):
    """A part of a request: its name, when it began and ended in nanoseconds since 1970, and what else is known of it."""

    name: str
    start: int
    end: int
    links: Sequence[Link] = ()
    attributes: Attributes | None = None


class Trace:
    """A span that is being recorded, and its parts, whose spans are made when it ends.

    Args:
        tracer: makes the spans.
        span: the span.

    Attributes:
        span: the span.
    """

    def __init__(self, tracer: Tracer, span: Span) -> None:
        from opentelemetry.trace import set_span_in_context

        self.span = span
        self._tracer = tracer
        self._context = set_span_in_context(span)
        self._parts: list[Part] = []
        self._part = ""
        self._since = 0
        self._failed_part = ""

    def mark(self, part: str) -> None:
        """End the current part and begin another one; an empty name begins none."""
        now = time.time_ns()
        if self._part:
            self._parts.append(Part(self._part, self._since, now))
        self._part, self._since = part, now

    def add(self, part: Part) -> None:
        """Add a part that has ended. Parts may be added by several threads at once."""
        self._parts.append(part)

    def child(self, name: str, links: Sequence[Link], attributes: Attributes) -> Trace:
        """Begin a span below this one that has parts of its own."""
        return Trace(self._tracer, self._tracer.start_span(name, self._context, links=links, attributes=attributes))

    def fail(self, error: str, message: str = "") -> None:
        """Give the span the status ERROR, and so the part in which the error arose.

        Args:
            error: the kind of error: name of a status code, or of an exception's class.
            message: what happened.
        """
        self._failed_part = self._part
        self.span.set_status(_error(), names.safe_text(message) or None)
        self.span.set_attribute(names.ERROR_TYPE, error)

    def end(self) -> None:
        """End the current part and the span."""
        self.mark("")
        for name, start, end, links, attributes in joined(self._parts):
            span = self._tracer.start_span(name, self._context, links=links, attributes=attributes, start_time=start)
            if name == self._failed_part and end == self._parts[-1].end:
                span.set_status(_error())
            span.end(end)
        self.span.end()


def joined(parts: Sequence[Part]) -> list[Part]:
    """Leave out the waits that were none, and make one part of those that they divided.

    Args:
        parts: parts in the order in which they ended.
    """
    found: list[Part] = []
    for part in parts:
        if part.name in _WAITS and part.end - part.start < _NO_WAIT:
            continue
        if found and found[-1].name == part.name and 0 <= part.start - found[-1].end < _NO_WAIT:
            found[-1] = found[-1]._replace(end=part.end)
        else:
            found.append(part)
    return found


def _error() -> StatusCode:
    from opentelemetry.trace import StatusCode

    return StatusCode.ERROR


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current() -> Trace | None:
    """Return what is traced in this thread or task; None if nothing is."""
    return _current.get()


def mark(part: str) -> None:
    """Begin a part of the current request, if it is traced."""
    trace = _current.get()
    if trace is not None:
        trace.mark(part)


def describe(name: str, value: str | int) -> None:
    """Set an attribute of the current request's span, if it is traced and has not ended, as one that took too long has."""
    trace = _current.get()
    if trace is not None and trace.span.is_recording():
        trace.span.set_attribute(name, names.safe_text(value) if isinstance(value, str) else value)


@contextmanager
def attached(trace: Trace | None) -> Iterator[None]:
    """Make a trace the current one of this thread or task within the block."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


class Spans:
    """Begins the spans of requests.

    Args:
        tracer: makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, name: str, headers: Mapping[str, str], attributes: Attributes, *, only_within: bool = False) -> Trace | None:
        """Begin the span of a request, below the span that its `traceparent` names.

        Args:
            name: the span's name.
            headers: HTTP headers or gRPC metadata, names in lower case.
            attributes: attributes that a sampler may look at, too.
            only_within: whether a request without `traceparent` is not traced; questions of probes would hide all else.

        Returns:
            The trace; None if the request is not traced, or left out by the sampler.
        """
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, get_current_span

        parent = extract({name: value for name, value in headers.items() if len(value) <= _LONGEST_HEADER})
        if only_within and not get_current_span(parent).get_span_context().is_valid:
            return None
        span = self._tracer.start_span(name, parent, kind=SpanKind.SERVER, attributes=attributes)
        return Trace(self._tracer, span) if span.is_recording() else None


def is_server_fault(code: str) -> bool:
    """Return whether a status code, by name, makes the server's span an error; a client's mistakes do not."""
    return code in _SERVER_FAULTS


class Queued(Protocol):
    """A request in a queue, or a part of one."""

    @property
    def trace(self) -> Trace | None:
        """The request's trace."""

    @property
    def enqueued(self) -> float:
        """When it came, in seconds of the monotonic clock."""


def batch(tasks: Sequence[Queued], rows: int, size: int) -> AbstractContextManager[object]:
    """Trace the run of a batch within the block, and how long its requests have waited for it.

    The batch's span is below the first traced request and links to all of them; the others have a span `batch` that links to it.

    Args:
        tasks: the requests.
        rows: rows of all requests.
        size: rows with padding.
    """
    traced = [(task, task.trace) for task in tasks if task.trace is not None]
    return _traced_batch(traced, len(tasks), rows, size) if traced else _NOTHING


@contextmanager
def _traced_batch(tasks: list[tuple[Queued, Trace]], requests: int, rows: int, size: int) -> Iterator[None]:
    from opentelemetry.trace import Link

    started = time.time_ns()
    behind = started - int(time.monotonic() * 1e9)
    for task, trace in tasks:
        trace.add(Part("queue", min(int(task.enqueued * 1e9) + behind, started), started))
    attributes = {names.BATCH_ROWS: rows, names.BATCH_SIZE: size, names.BATCH_REQUESTS: requests}
    others = list(dict.fromkeys(trace for _, trace in tasks))
    shared = others[0].child("batch", [Link(trace.span.get_span_context()) for trace in others], attributes)
    try:
        with attached(shared):
            yield
    except BaseException as exc:
        shared.fail(*_explained(exc))
        raise
    finally:
        shared.end()
        links = [Link(shared.span.get_span_context())]
        for trace in others[1:]:
            trace.add(Part("batch", started, time.time_ns(), links, attributes))


def _explained(exc: BaseException) -> tuple[str, str]:
    return (exc.code.name, exc.utf8_message) if isinstance(exc, StatusError) else (type(exc).__name__, str(exc))


def failed(trace: Trace | None, exc: BaseException) -> None:
    """Record the exception that ends a request, if it is traced."""
    if trace is not None:
        trace.fail(*_explained(exc))


