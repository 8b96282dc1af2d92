"""A collector that is away costs two lines of the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.serving.tracing.collected import Spans

SDK = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


def spans_of(number: int) -> list[Any]:
    spans = Spans()
    for index in range(number):
        spans.tracer.start_span(str(index)).end()
    return spans.all


def outage_exporter() -> tuple[Any, Any]:
    """Return an OutageExporter, and what it sends to, which logs as the SDK does."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from serving.tracing.exporter import OutageExporter

    class Sender(SpanExporter):
        is_away = True
        ended = False

        def export(self, spans: Any) -> Any:
            if not self.is_away:
                return SpanExportResult.SUCCESS
            SDK.warning("Transient error %s encountered while exporting %s batch, retrying in %.2fs.", "refused", "spans", 1.0)
            SDK.error("Failed to export %s batch due to timeout, max retries or shutdown.", "spans")
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            self.ended = True

    sender = Sender()
    return OutageExporter(sender, "http://collector:4318/v1/traces"), sender


def test_outage_is_one_line_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    exporter, sender = outage_exporter()
    spans = spans_of(3)
    for _ in range(50):
        exporter.export(spans)
    assert exporter.is_failing
    sender.is_away = False
    for _ in range(5):
        exporter.export(spans)
    assert not exporter.is_failing
    assert [record.getMessage() for record in caplog.records] == [
        "Traces cannot be exported to http://collector:4318/v1/traces and are lost until it answers: refused",
        "Traces are exported to http://collector:4318/v1/traces again; at least 150 spans were lost.",
    ]
    exporter.shutdown()


def test_sdk_gets_its_log_back_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    exporter, sender = outage_exporter()
    exporter.shutdown()
    assert sender.ended
    SDK.warning("heard again")
    assert [record.getMessage() for record in caplog.records] == ["heard again"]


def test_nothing_is_sent_once_it_is_abandoned() -> None:
    exporter, sender = outage_exporter()
    sender.is_away = False
    exporter.abandon()
    assert exporter.export(spans_of(1)).name == "FAILURE"
    exporter.shutdown()
