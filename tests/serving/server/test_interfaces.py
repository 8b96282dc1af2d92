"""What the recordings do not show: health, reflection, metrics, large and packed bodies, time limits, TLS, warm-up."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.status import StatusError
from serving.protocol.tensors import to_proto
from serving.server import Server, ServerOptions
from tests import requirements
from tests.serving.server.recordings import MODELS, rows, send_grpc


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(MODELS / "rows") as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as made:
        yield made


def post(server: Server, path: str, body: bytes, **headers: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{server.rest_port}/v1/models/{path}", body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_health_is_serving_under_the_names_of_the_real_server(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "PredictionService", "ModelService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService"), timeout=10)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_is_off_by_default_as_in_the_real_server() -> None:
    options = ServerOptions(model_name="rows", model_base_path=str(MODELS / "rows"), grpc_port=0)
    with Server(options) as running, grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as made:
        assert running.rest_port is None
        with pytest.raises(grpc.RpcError) as refused:
            health_pb2_grpc.HealthStub(made).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_lists_and_describes_the_services(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {PREDICTION_SERVICE, "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= services
    file = database.FindFileContainingSymbol(PREDICTION_SERVICE)
    assert "Predict" in {method.name for service in file.service for method in service.method}
    assert database.FindFileContainingSymbol("grpc.health.v1.Health")


def test_bodies_and_messages_may_be_large(server: Server, channel: grpc.Channel) -> None:
    array = np.ones((100_000, 4), np.float32)
    body = json.dumps({"signature_name": "single", "instances": array.tolist()}).encode()
    assert len(body) > 2_000_000
    assert np.array_equal(post(server, "rows:predict", body)["predictions"], 2 * array)
    large = np.ones((2_000_000, 4), np.float32)
    request = serving_message("PredictRequest")(model_spec={"name": "rows", "signature_name": "single"})
    request.inputs["x"].CopyFrom(to_proto(large))
    call = channel.unary_unary(
        f"/{PREDICTION_SERVICE}/Predict",
        request_serializer=serving_message("PredictRequest").SerializeToString,
        response_deserializer=len,
    )
    with pytest.raises(grpc.RpcError) as too_large:  # for this client; the server has no limit but int32
        call(request, timeout=60)
    assert too_large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in (too_large.value.details() or "")


def test_packed_body_is_unpacked(server: Server) -> None:
    body = gzip.compress(b'{"signature_name": "single", "instances": [[1, 2, 3, 4]]}')
    answer = post(server, "rows:predict", body, **{"Content-Encoding": "gzip"})
    assert answer == {"predictions": [[2.0, 4.0, 6.0, 8.0]]}


def test_request_over_the_time_limit_is_504(spinners: Path) -> None:
    with (
        Server(spinners, rest_timeout_seconds=0.2) as running,
        pytest.raises(urllib.error.HTTPError) as late,
    ):
        post(running, f"{spinners.name}:predict", b'{"inputs": 5000}')
    assert late.value.code == 504
    assert json.load(late.value) == {"error": "Timed out waiting for notification"}


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
    _write_warmup(tmp_path / "clsreg", _log("multi_inference_log", base64.b64decode(recorded["request_base64"])))
    body = b'{"signature_name": "regress", "examples": [{"x": [1.0, 2.0]}, {"x": [1.5, 2.0]}]}'
    with Server(tmp_path / "clsreg", monitoring_config_file=monitoring) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as made:
            send_grpc(made, recorded, MODELS)
        post(running, "clsreg:regress", body)
        lines = metrics(running)
    assert ':tensorflow:serving:request_example_count_total{model="clsreg"} 2' in lines
    assert ':tensorflow:serving:request_example_counts_bucket{model="clsreg",le="1"} 2' in lines
    assert ':tensorflow:serving:request_example_counts_bucket{model="clsreg",le="16384"} 2' in lines
    runs = [line for line in lines if line.startswith(":tensorflow:serving:runtime_latency_count")]
    assert runs == [':tensorflow:serving:runtime_latency_count{model_name="clsreg",API="Regress",runtime="TF1"} 1']
    path = tmp_path / "clsreg" / "1"
    assert f':tensorflow:serving:model_warmup_latency_count{{model_path="{path}",status="OK"}} 1' in lines


def test_grpc_over_tls(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            requirements.openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    config = tmp_path / "ssl.config"
    config.write_text(f"server_key: {json.dumps(key.read_text())}\nserver_cert: {json.dumps(cert.read_text())}\n")
    request = serving_message("GetModelStatusRequest")(model_spec={"name": "rows"}).SerializeToString()
    credentials = grpc.ssl_channel_credentials(cert.read_bytes())
    options = [("grpc.ssl_target_name_override", "localhost")]
    with (
        Server(MODELS / "rows", ssl_config_file=str(config)) as running,
        grpc.secure_channel(f"127.0.0.1:{running.grpc_port}", credentials, options) as made,
    ):
        assert made.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(request, timeout=20)


def _write_warmup(base_path: Path, *records: bytes) -> None:
    folder = base_path / "1" / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def _log(kind: str, request: bytes) -> bytes:
    log = serving_message("PredictionLog")()
    getattr(log, kind).request.ParseFromString(request)
    data: bytes = log.SerializeToString()
    return data


def _record(signature: str) -> bytes:
    request = serving_message("PredictRequest")(model_spec={"name": "whatever", "signature_name": signature})
    request.inputs["x"].CopyFrom(to_proto(np.ones((1, 4), np.float32)))
    return _log("predict_log", request.SerializeToString())


def test_warmup_records_are_answered_before_the_version_serves(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_a_request = serving_message("PredictionLog")().SerializeToString()
    _write_warmup(base_path, _record("single"), without_a_request, _record("serving_default"))
    with caplog.at_level("INFO"), Server(base_path):
        pass
    assert "Answered 3 warm-up records" in caplog.text


@pytest.mark.parametrize(
    ("records", "error"),
    [
        ((_record("nope"),), 'FAILED_PRECONDITION: Serving signature key "nope" not found.'),
        ((b"\xff",), "INVALID_ARGUMENT: Failed to parse warmup record"),
        ((_log("session_run_log", b""),), "UNIMPLEMENTED: Unsupported log_type for warmup: 5"),
        ((_record("single"),) * 1001, "INVALID_ARGUMENT: Number of warmup records exceeds the maximum"),
    ],
    ids=["failing request", "no record", "unsupported", "too many"],
)
def test_bad_warmup_records_keep_the_version_from_serving(
    records: tuple[bytes, ...], error: str, base_path: Path
) -> None:
    _write_warmup(base_path, *records)
    with pytest.raises(StatusError) as failed:
        Server(base_path).start()
    assert error in failed.value.message
    with Server(base_path, warmup=False) as running:
        assert running.core.board.is_available("m", 1)


def test_damaged_warmup_file_keeps_the_version_from_serving(base_path: Path) -> None:
    _write_warmup(base_path, _record("single"))
    file = base_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(StatusError, match="Please verify your warmup data is in TFRecord format"):
        Server(base_path).start()


def test_bundle_folder_is_served_with_its_labels(tmp_path: Path) -> None:
    bundle = tmp_path / "dist"
    shutil.copytree(MODELS / "rows", bundle / "models" / "rows")
    shutil.copytree(MODELS / "strs", bundle / "models" / "strs")
    with Server(bundle) as running:
        assert post(running, "rows:predict", b'{"signature_name": "single", "instances": [[1, 1, 1, 1]]}')
        assert post(running, "strs:predict", b'{"signature_name": "scalar", "inputs": "abc"}') == {"outputs": 3}
    (bundle / "serving").mkdir()
    (bundle / "serving" / "models.config").write_text(
        'model_config_list { config { name: "rows" base_path: "/models/rows" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }'
    )
    with Server(bundle) as running:
        body = b'{"signature_name": "single", "instances": [[1, 1, 1, 1]]}'
        answer = post(running, "rows/labels/stable:predict", body)
        assert answer == {"predictions": [[1.0, 1.0, 1.0, 1.0]]}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(running, "strs:predict", b'{"signature_name": "scalar", "inputs": "abc"}')


def test_server_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    assert replace(ServerOptions()).host == "127.0.0.1"
