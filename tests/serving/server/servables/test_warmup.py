"""Warm-up records are answered before a version serves; bad records keep it from serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.protocol.messages import serving_message
from serving.protocol.status import StatusError
from serving.protocol.tensors import to_proto
from serving.server import Server
from tests.serving.server.servables.warmup_records import prediction_log, write_warmup


def _record(signature: str) -> bytes:
    request = serving_message("PredictRequest")(model_spec={"name": "whatever", "signature_name": signature})
    request.inputs["x"].CopyFrom(to_proto(np.ones((1, 4), np.float32)))
    return prediction_log("predict_log", request.SerializeToString())


def test_warmup_records_are_answered_before_the_version_serves(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_a_request = serving_message("PredictionLog")().SerializeToString()
    write_warmup(base_path, _record("single"), without_a_request, _record("serving_default"))
    with caplog.at_level("INFO"), Server(base_path):
        pass
    assert "Answered 3 warm-up records" in caplog.text


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("records", "error"),
    [
        ((_record("nope"),), 'FAILED_PRECONDITION: Serving signature key "nope" not found.'),
        ((b"\xff",), "INVALID_ARGUMENT: Failed to parse warmup record"),
        ((prediction_log("session_run_log", b""),), "UNIMPLEMENTED: Unsupported log_type for warmup: 5"),
        ((_record("single"),) * 1001, "INVALID_ARGUMENT: Number of warmup records exceeds the maximum"),
    ],
    ids=["failing request", "no record", "unsupported", "too many"],
)
def test_bad_warmup_records_keep_the_version_from_serving(
    records: tuple[bytes, ...], error: str, base_path: Path
) -> None:
    write_warmup(base_path, *records)
    with pytest.raises(StatusError) as failed:
        Server(base_path).start()
    assert error in failed.value.message
    with Server(base_path, warmup=False) as running:
        assert running.core.board.is_available("m", 1)


def test_damaged_warmup_file_keeps_the_version_from_serving(base_path: Path) -> None:
    write_warmup(base_path, _record("single"))
    file = base_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(StatusError, match="Please verify your warmup data is in TFRecord format"):
        Server(base_path).start()
