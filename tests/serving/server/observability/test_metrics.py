"""Metrics in Prometheus' format: counts and latencies of requests, runs, examples and warm-up."""

from __future__ import annotations

import base64
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from serving.server import Server
from tests.serving.server.calls import post
from tests.serving.server.recordings import MODELS, rows, send_grpc
from tests.serving.server.servables.warmup_records import prediction_log, write_warmup


@pytest.fixture
def monitoring(tmp_path: Path) -> str:
    config = tmp_path / "monitoring.config"
    config.write_text('prometheus_config { enable: true path: "/metrics" }')
    return str(config)


def metrics(running: Server) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.rest_port}/metrics") as response:
        return list(response.read().decode().splitlines())


def test_metrics_count_requests_and_latencies(monitoring: str) -> None:
    with Server(MODELS / "rows", monitoring_config_file=monitoring) as running:
        for _ in range(3):
            post(running, "rows:predict", b'{"instances": [[1, 2, 3, 4]]}')
        with pytest.raises(urllib.error.HTTPError):
            post(running, "gone:predict", b'{"instances": [[1, 2, 3, 4]]}')
        lines = metrics(running)
    assert ':tensorflow:serving:request_count{model_name="rows",status="OK"} 3' in lines
    assert ':tensorflow:serving:request_count{model_name="gone",status="NOT_FOUND"} 1' in lines
    latency = ':tensorflow:serving:request_latency_bucket{model_name="rows",API="predict",entrypoint="REST",le="+Inf"} 3'
    assert latency in lines
    run = ':tensorflow:serving:runtime_latency_bucket{model_name="rows",API="Predict",runtime="TF1",le="+Inf"} 3'
    assert run in lines


def test_metrics_count_examples_runs_of_each_method_and_warm_up(monitoring: str, tmp_path: Path) -> None:
    shutil.copytree(MODELS / "clsreg", tmp_path / "clsreg")
    recorded = next(row for row in rows("A", "grpc") if row["id"] == "g_mi_ok")
    write_warmup(tmp_path / "clsreg", prediction_log("multi_inference_log", base64.b64decode(recorded["request_base64"])))
    body = b'{"signature_name": "regress", "examples": [{"x": [1.0, 2.0]}, {"x": [1.5, 2.0]}]}'
    with Server(tmp_path / "clsreg", monitoring_config_file=monitoring) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            send_grpc(channel, recorded, MODELS)
        post(running, "clsreg:regress", body)
        lines = metrics(running)
    assert ':tensorflow:serving:request_example_count_total{model="clsreg"} 2' in lines
    assert ':tensorflow:serving:request_example_counts_bucket{model="clsreg",le="1"} 2' in lines
    assert ':tensorflow:serving:request_example_counts_bucket{model="clsreg",le="16384"} 2' in lines
    runs = [line for line in lines if line.startswith(":tensorflow:serving:runtime_latency_count")]
    assert runs == [':tensorflow:serving:runtime_latency_count{model_name="clsreg",API="Regress",runtime="TF1"} 1']
    path = tmp_path / "clsreg" / "1"
    assert f':tensorflow:serving:model_warmup_latency_count{{model_path="{path}",status="OK"}} 1' in lines
