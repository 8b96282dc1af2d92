"""An exporter of spans whose collector may be away.

The SDK exports in a thread of its own and drops spans when its queue is full, so a collector that is away never slows a request.
But it logs several lines per attempt, and its shutdown may take half a minute. Here an outage is one line when it begins and one
when it ends, and `stop` returns in time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

_SDK_LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")

_NO_REASON = ("Failed to export spans batch due to", "Queue full", "Shutdown", "Exporter already")
_LONGEST = 300


class _Reason(logging.Filter):
    """Keeps the last thing that the SDK has to say about an export, and its log lines back."""

    def __init__(self) -> None:
        super().__init__()
        self.text = "no answer"

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a record's message unless it only repeats that the attempts are over. Return False."""
        message = record.getMessage()
        if not message.startswith(_NO_REASON):
            self.text = message.removeprefix("Transient error ").partition(" encountered while exporting")[0][:_LONGEST]
        return False


class OutageExporter(SpanExporter):
    """Hands spans to another exporter, and says when that begins to fail and when it works again.

    Args:
        exporter: the exporter that sends them.
        endpoint: where it sends them, for the log.
    """

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._lost = 0
        self._stopping = threading.Event()
        self._reason = _Reason()
        for name in _SDK_LOGGERS:
            logging.getLogger(name).addFilter(self._reason)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; after `abandon`, drop them."""
        if self._stopping.is_set():
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.warning("Traces are exported to %s again; at least %d spans were lost.", self._endpoint, self._lost)
            self._lost = 0
            return result
        if not self._lost:
            log.warning("Traces cannot be exported to %s and are lost until it answers: %s", self._endpoint, self._reason.text)
        self._lost += len(spans)
        return result

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt has failed."""
        return self._lost > 0

    def abandon(self) -> None:
        """Drop what is still to be sent."""
        self._stopping.set()

    def shutdown(self) -> None:
        """End the exporter, and give the SDK its log back."""
        self._stopping.set()
        self._exporter.shutdown()
        for name in _SDK_LOGGERS:
            logging.getLogger(name).removeFilter(self._reason)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True: nothing is kept here."""
        return True
