"""Where a server's spans go, and that its end does not wait for a collector."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.errors import ConfigError, MissingExtraError
from serving.tracing import provider as provider_module
from serving.tracing.provider import Provider
from tests.hidden import run_without
from tests.serving.processes import free_port
from tests.serving.tracing.collected import application_spans, collector


def test_application_that_has_a_provider_gets_the_spans_and_keeps_it() -> None:
    with application_spans() as spans:
        provider = Provider()
        provider.stop()
        provider.tracer.start_span("request").end()
        assert spans.one("request").instrumentation_scope.name == "tfbundle.serving"


def test_spans_are_flushed_to_the_collector_of_the_environment_when_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        provider = Provider()
        provider.tracer.start_span("request").end()
        provider.stop()
        assert [span.name for span in received.spans["tfbundle-serve"]] == ["request"]


def test_service_has_the_name_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=digits,deployment.environment.name=test")
        provider = Provider()
        provider.tracer.start_span("request").end()
        provider.stop()
        assert list(received.spans) == ["digits"]


@pytest.mark.parametrize("listens", [False, True], ids=["refused", "silent"])
def test_end_does_not_wait_for_a_collector_that_is_away(
    listens: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(provider_module, "_STOP_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        provider = Provider()
        for _ in range(5000):  # more than the queue holds
            provider.tracer.start_span("request").end()
        started = time.monotonic()
        provider.stop()
        assert time.monotonic() - started < 2.0
    assert len(caplog.records) <= 1


def test_spans_can_be_made_without_being_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    provider = Provider()
    assert provider.tracer.start_span("request").is_recording()
    provider.stop()


def test_disabled_sdk_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    provider = Provider()
    assert not provider.tracer.start_span("request").is_recording()
    provider.stop()


def test_sizes_that_contradict_each_other_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")
    with pytest.raises(ConfigError, match="OTEL_BSP_") as caught:
        Provider()
    assert caught.value.code == "TFB6401"


def test_propagator_that_is_not_installed_is_an_error_at_the_start_and_not_of_a_request() -> None:
    code = "from serving.tracing.provider import Provider; Provider()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[3],
        env={**os.environ, "OTEL_PROPAGATORS": "tracecontext,nope"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "OTEL_PROPAGATORS is 'tracecontext,nope'; it has to be propagators that are installed." in done.stderr


def test_missing_extra_is_one_sentence_with_the_command() -> None:
    code = """
import json
from serving.errors import MissingExtraError
from serving.tracing.provider import Provider
try:
    Provider()
except MissingExtraError as exc:
    print(json.dumps(str(exc)))
"""
    text = run_without({"opentelemetry"}, code)
    assert text.startswith("Tracing needs the packages 'opentelemetry-api', 'opentelemetry-sdk' and 'opentelemetry-exporter")
    assert text.endswith("to do: pip install 'tfbundle[otel]'")
    assert MissingExtraError.exit_code == 2
