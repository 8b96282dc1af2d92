"""A client's process, a server's process and a collector: one trace, whose spans have the right parents."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from serving import Client
from serving.launch.server_process import server_process
from tests.serving.processes import free_port
from tests.serving.server.recordings import MODELS
from tests.serving.tracing.collected import collector

_INTERNAL, _SERVER, _CLIENT = 1, 2, 3

CLIENT = """
import sys
import numpy as np
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from serving import Client

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
with trace.get_tracer("shop").start_as_current_span("checkout"):
    for target in sys.argv[1:]:
        with Client(target) as client:
            client.predict("rows", x=np.float32([[1, 2, 3, 4]]), signature="single")
provider.shutdown()
"""


def test_client_and_server_share_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with server_process(MODELS / "rows", ["--enable_tracing"]) as server:
            command = [sys.executable, "-c", CLIENT, server.grpc_target, server.rest_target]
            environment = {**os.environ, "OTEL_SERVICE_NAME": "shop"}
            subprocess.run(command, check=True, timeout=120, cwd=Path(__file__).parents[3], env=environment)
    outer = received.one("shop", "checkout", _INTERNAL)
    names = ("tensorflow.serving.PredictionService/Predict", "POST /v1/models/{model}:predict")
    for name in names:
        sent, answered = received.one("shop", name, _CLIENT), received.one("tfbundle-serve", name, _SERVER)
        assert sent.trace_id == answered.trace_id == outer.trace_id
        assert (sent.parent_span_id, answered.parent_span_id) == (outer.span_id, sent.span_id)
        below = {span.name for span in received.spans["tfbundle-serve"] if span.parent_span_id == answered.span_id}
        assert {"decode", "run", "encode"} <= below
        assert sent.start_time_unix_nano <= answered.start_time_unix_nano <= sent.end_time_unix_nano


@pytest.mark.slow
def test_collector_that_is_away_neither_breaks_requests_nor_delays_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of requests without a collector is measured in docs/how-to/tracing.md; here they must only all succeed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with server_process(MODELS / "rows", ["--enable_tracing"]) as server:
        with Client(server.grpc_target) as client:
            for _ in range(300):
                client.predict("rows", x=np.float32([[1, 2, 3, 4]]), signature="single")
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 15.0
