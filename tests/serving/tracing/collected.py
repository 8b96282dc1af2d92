"""Spans in memory, and a collector that parses what OTLP over HTTP brings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests import requirements

trace = requirements.require_package("opentelemetry.trace", "pip install 'tfbundle[otel]'")


class Spans:
    """The spans that have ended, in a provider of their own."""

    def __init__(self, **options: Any) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def all(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str, kind: str = "") -> list[Any]:
        return [span for span in self.all if span.name == name and kind in ("", span.kind.name)]

    def one(self, name: str, kind: str = "") -> Any:
        found = self.named(name, kind)
        assert len(found) == 1, [span.name for span in self.all]
        return found[0]

    def below(self, span: Any) -> list[Any]:
        """Return the children of a span in the order in which they began."""
        children = [each for each in self.all if each.parent and each.parent.span_id == span.context.span_id]
        return sorted(children, key=lambda each: int(each.start_time))

    def clear(self) -> None:
        self._exporter.clear()


@contextmanager
def application_spans(**options: Any) -> Iterator[Spans]:
    """Be an application that has set a tracer provider, until the end of the block."""
    spans = Spans(**options)
    with pytest.MonkeyPatch.context() as patch:
        # `set_tracer_provider` can be called only once per process.
        patch.setattr(trace, "_TRACER_PROVIDER", spans.provider)
        yield spans
    spans.provider.shutdown()


class Collector:
    """What a collector has received."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = {}
        self.status = 200
        self.changed = threading.Condition()

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        message = ExportTraceServiceRequest.FromString(body)
        with self.changed:
            for resource in message.resource_spans:
                service = next(each.value.string_value for each in resource.resource.attributes if each.key == "service.name")
                for scope in resource.scope_spans:
                    self.spans.setdefault(service, []).extend(scope.spans)
            self.changed.notify_all()

    def one(self, service: str, name: str, kind: int) -> Any:
        found = [span for span in self.spans.get(service, []) if span.name == name and span.kind == kind]
        assert len(found) == 1, {key: [span.name for span in spans] for key, spans in self.spans.items()}
        return found[0]


@contextmanager
def collector() -> Iterator[tuple[str, Collector]]:
    """Run a collector on this machine. Yields its base URL and what it receives."""
    received = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces" and received.status == 200:
                received.take(body)
            self.send_response(received.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()
