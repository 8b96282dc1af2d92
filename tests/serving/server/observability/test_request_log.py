"""The log of requests: what it contains, and that smoke and bench can send the requests again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from bundler.cli.app import app
from serving import Client, Server
from serving.client.examples import to_message
from serving.errors import ConfigError, GoldenError
from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tfrecord import read_records
from serving.server.observability.request_log import RequestLog
from serving.smoke.replay import read_requests, replay
from tests.serving.server.calls import post
from tests.serving.server.recordings import MODELS, rows, send_grpc

ROWS = MODELS / "rows"
X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    """The file of a server that answered two requests over gRPC and one over REST, and refused one."""
    folder = tmp_path / "log"
    with Server(ROWS, log_requests=str(folder)) as server:
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            client.predict("rows", x=X)
            client.predict("rows", x=X * 2, version=2)
            with pytest.raises(Exception, match="not found"):
                client.predict("rows", x=X, signature="nope")
        post(server, "rows:predict", {"instances": X.tolist()})
    (file,) = folder.iterdir()
    yield file


def test_answered_requests_are_written_as_prediction_logs(logged: Path) -> None:
    records = [serving_message("PredictionLog").FromString(record) for record in read_records(logged)]
    assert [record.WhichOneof("log_type") for record in records] == ["predict_log"] * 3
    metadata = records[1].log_metadata
    assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("rows", 2)
    assert (metadata.sampling_config.sampling_rate, list(metadata.saved_model_tags)) == (1.0, ["serve"])
    assert metadata.timestamp_secs > 1e9
    first, second, third = read_requests(logged).requests
    assert (first.model, first.signature, first.version, second.version) == ("rows", "serving_default", None, 2)
    np.testing.assert_array_equal(third.inputs["x"], X)
    assert set(third.outputs) == {"y", "labels"}


def test_smoke_and_bench_send_the_logged_requests(logged: Path) -> None:
    with Server(ROWS) as server:
        target = f"127.0.0.1:{server.grpc_port}"
        smoked = CliRunner().invoke(app, ["smoke", target, "--replay", str(logged)])
        assert smoked.exit_code == 0, smoked.output
        assert "PASSED: 3 passed" in smoked.output and "replay 3 serving_default" in smoked.output
        command = ["bench", target, "--replay", str(logged), "--seconds", "0.1", "--concurrency", "2", "--json"]
        (figures,) = json.loads(CliRunner().invoke(app, command).stdout)
        assert figures["failed"] == 0 and figures["requests"] > 0
        assert replay(f"http://127.0.0.1:{server.rest_port}", logged).passed


@pytest.fixture
def inferred(tmp_path: Path) -> Path:
    """The file of a server that answered Classify, Regress and MultiInference requests."""
    examples: list[dict[str, object]] = [{"x": [1.0, 2.0]}, {"x": [1.5, 2.0]}]
    both = next(row for row in rows("A", "grpc") if row["id"] == "g_mi_ok")
    folder = tmp_path / "log"
    with Server(MODELS / "clsreg", log_requests=str(folder)) as server:
        target = f"127.0.0.1:{server.grpc_port}"
        with Client(target) as client, grpc.insecure_channel(target) as channel:
            client.classify("clsreg", examples, signature="serving_default")
            client.regress("clsreg", examples, version=1)
            send_grpc(channel, both, MODELS)
            request = serving_message("RegressionRequest")(model_spec={"name": "clsreg", "signature_name": "regress"})
            request.input.example_list_with_context.context.CopyFrom(to_message({"x": [1.0, 2.0]}))
            request.input.example_list_with_context.examples.extend([to_message({}), to_message({"x": [1.5, 2.0]})])
            channel.unary_unary(f"/{PREDICTION_SERVICE}/Regress")(request.SerializeToString(), timeout=20)
    (file,) = folder.iterdir()
    return file


def test_logged_classify_and_regress_requests_are_sent_again(inferred: Path) -> None:
    logged = read_requests(inferred)
    assert [(r.verb, r.signature, r.version, r.rows) for r in logged.requests] == [
        ("Classify", "serving_default", None, 2), ("Regress", "regress", 1, 2), ("Regress", "regress", None, 2),
    ]  # fmt: skip
    assert logged.requests[0].outputs["classes"].shape == (2, 3)
    assert logged.requests[1].outputs["outputs"].tolist() == logged.requests[2].outputs["outputs"].tolist() == [10.0, 10.5]
    with Server(MODELS / "clsreg") as server:
        target = f"127.0.0.1:{server.grpc_port}"
        for over in (target, f"http://127.0.0.1:{server.rest_port}"):
            report = replay(over, inferred)
            assert [check.outcome for check in report.checks] == ["passed"] * 3 + ["skipped"]
            assert "multi_inference_log" in report.checks[3].what
        command = ["bench", target, "--replay", str(inferred), "--seconds", "0.1", "--concurrency", "2", "--json"]
        benched = CliRunner().invoke(app, command)
        assert json.loads(benched.stdout)[0]["failed"] == 0
        assert "1 record of multi_inference_log" in benched.stderr


def test_file_with_only_other_records_is_refused(inferred: Path, tmp_path: Path) -> None:
    records = [serving_message("PredictionLog").FromString(record) for record in read_records(inferred)]
    (several,) = [record for record in records if record.WhichOneof("log_type") == "multi_inference_log"]
    with tf.io.TFRecordWriter(str(tmp_path / "several")) as writer:
        writer.write(several.SerializeToString())
    with pytest.raises(GoldenError, match="no predict, classify or regress request, only 1 of multi_inference_log"):
        read_requests(tmp_path / "several")


def test_answer_that_differs_from_the_logged_one_fails(logged: Path, tmp_path: Path) -> None:
    base = tmp_path / "rows"
    base.mkdir()
    (base / "2").symlink_to(ROWS / "1")  # another model under the same name and version
    with Server(base) as server:
        result = CliRunner().invoke(app, ["smoke", f"127.0.0.1:{server.grpc_port}", "--replay", str(logged)])
    assert result.exit_code == 1
    assert "failed" in result.output


def test_rate_of_zero_writes_nothing_and_invalid_rate_is_refused(tmp_path: Path) -> None:
    assert not any(RequestLog(str(tmp_path), 0.0, ()).wants() for _ in range(100))
    drawn = sum(RequestLog(str(tmp_path), 0.5, ()).wants() for _ in range(1000))
    assert 300 < drawn < 700
    with pytest.raises(ConfigError, match="sample_rate must be between 0 and 1, got 2"):
        RequestLog(str(tmp_path), 2, ())


def test_damaged_files_are_refused(logged: Path, tmp_path: Path) -> None:
    content = logged.read_bytes()
    broken = tmp_path / "broken"
    for data, message in (
        (content[:-5], "ends within the record"),
        (b"x" * 40, "not a TFRecord file, or is damaged at byte 0"),
        (b"", "has no predict, classify or regress request"),
    ):
        broken.write_bytes(data)
        with pytest.raises(GoldenError, match=message):
            read_requests(broken)
    with pytest.raises(GoldenError, match="cannot be read"):
        read_requests(tmp_path / "none")
