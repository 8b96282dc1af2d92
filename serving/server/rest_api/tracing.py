"""The spans of REST requests (OpenTelemetry semantic conventions, "HTTP")."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from serving.server.observability.tracing import Spans, Trace, attached, failed
from serving.tracing import names

if TYPE_CHECKING:
    from aiohttp import web

_VERSION = r"(/versions/[0-9]+|/labels/[^/:]+)?"
_API = re.compile(rf"/v1/models/[^/:]+{_VERSION}(?::(classify|regress|predict)|/(metadata))?", re.IGNORECASE)
_INFERENCE = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?(/infer|/ready)?")
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})


def route(path: str) -> str:
    """Return a path with placeholders for its names: `/v1/models/{model}:predict`; an empty text for other paths."""
    path = path.partition("?")[0]
    if match := _INFERENCE.fullmatch(path):
        return f"/v2/models/{{model}}{'/versions/{version}' if match[1] else ''}{match[2] or ''}"
    match = _API.fullmatch(path)
    if match is None:
        return ""
    which = (match[1] or "").split("/")[1:2]
    part = {"versions": "/versions/{version}", "labels": "/labels/{label}"}.get(which[0].lower(), "") if which else ""
    end = f":{match[2].lower()}" if match[2] else "/metadata" if match[3] else ""
    return f"/v1/models/{{model}}{part}{end}"


class RequestSpans:
    """Answers HTTP requests within spans.

    Only the API's requests are traced; those without a body, the questions of probes, only if they come with a `traceparent`.

    Args:
        spans: begins the spans.
    """

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    async def answer(
        self, request: web.BaseRequest, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Return what `answer` returns for the request."""
        trace = self._begin(request)
        if trace is None:
            return await answer(request)
        trace.mark("receive")
        try:
            with attached(trace):
                response = await answer(request)
            trace.span.set_attribute(names.HTTP_STATUS, response.status)
            if response.status >= 500:
                trace.fail(str(response.status))
            elif response.status >= 400:
                trace.span.set_attribute(names.ERROR_TYPE, str(response.status))
            return response
        except BaseException as exc:
            failed(trace, exc)
            raise
        finally:
            trace.end()

    def _begin(self, request: web.BaseRequest) -> Trace | None:
        path, _, query = request.raw_path.partition("?")
        if not path.lower().startswith(("/v1/", "/v2/")):
            return None
        method = request.method if request.method in _METHODS else "_OTHER"
        headers = {name.lower(): value for name, value in request.headers.items()}
        template = route(path)
        attributes: dict[str, str | int] = {
            names.HTTP_METHOD: method, names.URL_PATH: names.safe_text(path), names.URL_SCHEME: "http",
            **names.server_address(headers.get("host", "")),
        }  # fmt: skip
        if template:
            attributes[names.HTTP_ROUTE] = template
        if query:
            attributes["url.query"] = names.safe_text(query)
        if agent := headers.get("user-agent"):
            attributes[names.USER_AGENT] = names.safe_text(agent)
        name = f"{'HTTP' if method == '_OTHER' else method} {template}".rstrip()
        return self._spans.begin(name, headers, attributes, only_within=method != "POST")
