"""Where the spans of an embedded server go: to the application's tracer provider, or to one that the environment describes."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from serving.errors import ConfigError
from serving.extras import require
from serving.tracing.names import SCOPE
from serving.tracing.settings import check_environment, exporter_name, otlp_endpoint, wrong

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_SERVICE = "tfbundle-serve"
"""The `service.name` of a server, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one."""

_STOP_SECONDS = 5.0
"""How long the end of a server waits for its last spans to be sent."""

_AWAY_SECONDS = 1.0
"""The same if the collector did not answer lately."""


class Provider:
    """A source of tracers for one server.

    An application that has set its own tracer provider (`opentelemetry.trace.set_tracer_provider`) gets the server's spans too.
    Otherwise the SDK and an exporter are set up from the OTEL_* variables, for this server alone.

    Attributes:
        tracer: makes the spans.

    Raises:
        MissingExtraError: a package of the extra `otel` is not installed.
        ConfigError: an OTEL_* variable has a value that cannot be followed.
    """

    def __init__(self) -> None:
        require("otel", "Tracing")
        from opentelemetry import trace

        _check_propagators()
        self._exporter: Any = None
        self._own: Any = None
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            check_environment(os.environ)
            provider = self._own = self._make()
        self.tracer: Tracer = provider.get_tracer(SCOPE)

    def _make(self) -> Any:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

        resource = Resource.create()  # reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": _SERVICE}))
        # The end of the process must not wait for a collector that is away; `stop` has a limit.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        name = exporter_name(os.environ)
        if name == "console":
            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        elif name == "otlp":
            try:
                provider.add_span_processor(BatchSpanProcessor(self._otlp()))
            except ValueError as exc:
                raise wrong("OTEL_BSP_*", str(exc), "numbers that fit together") from exc
        return provider

    def _otlp(self) -> Any:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from serving.tracing.exporter import OutageExporter

        try:
            exporter = OTLPSpanExporter()
        except (ValueError, OSError) as exc:
            what = f"The exporter of traces cannot be set up: {exc}."
            raise ConfigError(what, fix="correct the OTEL_EXPORTER_OTLP_* variables", code="TFB6401") from exc
        self._exporter = OutageExporter(exporter, otlp_endpoint(os.environ))
        return self._exporter

    def stop(self) -> None:
        """Send the last spans, for a few seconds at most. An application's own provider is left alone."""
        if self._own is None:
            return
        ending = threading.Thread(target=self._own.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(_AWAY_SECONDS if self._exporter is not None and self._exporter.is_failing else _STOP_SECONDS)
        if ending.is_alive() and self._exporter is not None:
            self._exporter.abandon()


def _check_propagators() -> None:
    """Raise if a propagator that OTEL_PROPAGATORS names is not installed, which would otherwise fail the first request."""
    try:
        import_module("opentelemetry.propagate")
    except ValueError as exc:
        raise wrong("OTEL_PROPAGATORS", os.environ.get("OTEL_PROPAGATORS", ""), "propagators that are installed") from exc
