"""The spans of gRPC calls (OpenTelemetry semantic conventions, "gRPC")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from serving.server.observability.tracing import Spans, Trace, attached, is_server_fault
from serving.tracing import names

Respond = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]
"""Answers a call of one method."""

_POLLED = ("GetModelStatus", "ServerLive", "ServerReady", "ModelReady")
"""Methods that probes call again and again."""


def traced(spans: Spans, service: str, method: str, respond: Respond) -> Respond:
    """Return a function that answers like `respond`, within a span per call."""
    name = f"{service}/{method}"
    attributes: dict[str, str | int] = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name}

    def respond_traced(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        trace = spans.begin(name, headers, attributes, only_within=method in _POLLED)
        if trace is None:
            return respond(messages, context)
        trace.mark("receive")
        try:
            with attached(trace):
                answer = respond(messages, context)
            trace.span.set_attribute(names.RPC_STATUS, "OK")
            return answer
        except BaseException as exc:
            _set_error(trace, context, exc)
            raise
        finally:
            trace.end()

    return respond_traced


def _set_error(trace: Trace, context: Any, exc: BaseException) -> None:
    """Record the status that a call was aborted with; any other exception is an INTERNAL error."""
    status = context.code()
    code = "UNKNOWN" if status is None else status.name
    trace.span.set_attribute(names.RPC_STATUS, code)
    if is_server_fault(code):
        details = context.details() or str(exc)  # bytes, as grpc keeps them
        trace.fail(code, details.decode("utf-8", "replace") if isinstance(details, bytes) else details)
    else:
        trace.span.set_attribute(names.ERROR_TYPE, code)
