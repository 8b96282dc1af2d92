"""OpenTelemetry spans of a client's requests, and the headers that carry their trace to the server.

An application that sets a tracer provider gets a CLIENT span per request that is sent, each repetition included, below its
current span, and every request has `traceparent` and `tracestate`. Without a provider, or without OpenTelemetry, nothing is
imported and nothing is recorded: the module is looked up in `sys.modules` only. The requests with which `wait_until_ready` polls
are not traced.
"""

from __future__ import annotations

import sys
from functools import partial
from http import HTTPStatus
from typing import Any

from serving.client.steps import Request, Steps, T, with_exchange
from serving.client.transport import Target
from serving.errors import RequestError
from serving.tracing import names

_POLLED = "/tensorflow.serving.ModelService/GetModelStatus"


def traced(steps: Steps[T], target: Target) -> Steps[T]:
    """Return steps that record a span per request, or the same steps if the application has no tracer provider.

    Args:
        steps: the steps of a call.
        target: the server's address.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return steps
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider):
        return steps
    return with_exchange(steps, partial(_exchange, target=target, tracer=provider.get_tracer(names.SCOPE)))


def _is_polled(request: Request) -> bool:
    """Return whether a request is for the state of a model, which is asked for again and again."""
    return request.path == _POLLED or (request.method == "GET" and not request.path.endswith("/metadata"))


def _exchange(request: Request, target: Target, tracer: Any) -> Steps[Any]:
    """Send a request within a span, unless it polls."""
    if _is_polled(request):
        return (yield request)
    from opentelemetry.propagate import inject
    from opentelemetry.trace import SpanKind, set_span_in_context

    name, attributes = _http(request, target) if target.rest else _grpc(request)
    attributes |= {names.MODEL_NAME: names.safe_text(request.ref.model), **names.server_address(target.address)}
    if request.ref.version is not None:
        attributes[names.MODEL_VERSION] = request.ref.version
    if request.ref.label is not None:
        attributes[names.MODEL_LABEL] = names.safe_text(request.ref.label)
    span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
    carrier: dict[str, str] = {}
    inject(carrier, set_span_in_context(span))
    try:
        answer = yield request.to_send((*request.headers, *carrier.items()))
        span.set_attribute(*((names.HTTP_STATUS, HTTPStatus.OK.value) if target.rest else (names.RPC_STATUS, "OK")))
        return answer
    except BaseException as exc:
        _set_error(span, exc)
        raise
    finally:
        span.end()


def _grpc(request: Request) -> tuple[str, dict[str, Any]]:
    name = request.path.removeprefix("/")
    return name, {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name}


def _http(request: Request, target: Target) -> tuple[str, dict[str, Any]]:
    verb = request.path.rpartition("/")[2].rpartition(":")[2]
    which = "" if request.ref.version is None else "/versions/{version}"
    which = which if request.ref.label is None else "/labels/{label}"
    template = f"{target.path}/v1/models/{{model}}{which}{'/' if request.method == 'GET' else ':'}{verb}"
    url = f"{'https' if target.tls else 'http'}://{target.address}{request.path}"
    attributes = {names.HTTP_METHOD: request.method, names.URL_FULL: names.safe_text(url), names.URL_TEMPLATE: template}
    return f"{request.method} {template}", attributes


def _set_error(span: Any, exc: BaseException) -> None:
    if isinstance(exc, RequestError) and exc.http_status is not None:
        span.set_attribute(names.HTTP_STATUS, exc.http_status)
        _fail(span, str(exc.http_status), None)
    elif isinstance(exc, RequestError):
        span.set_attribute(names.RPC_STATUS, exc.status)
        _fail(span, exc.status, exc.what)
    else:
        _fail(span, type(exc).__name__, getattr(exc, "what", str(exc)))


def _fail(span: Any, error: str, message: str | None) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR, names.safe_text(message) if message else None)
    span.set_attribute(names.ERROR_TYPE, error)
