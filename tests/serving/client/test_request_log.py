"""Logs of requests: what can be sent again, and what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.client.examples import EXAMPLES
from serving.client.request_log import NOT_SENT, log_files, read_log
from serving.errors import GoldenError
from serving.protocol.messages import serving_message
from tests.serving.request_logs import inference, others, predict, write_log


def test_every_kind_of_record_is_read_or_named(tmp_path: Path) -> None:
    examples = [inference("classify_log", "b", "", {"x": 1.0}), inference("regress_log", "c", "")]
    records = list(read_log(write_log(tmp_path / "log", [predict("a", "s", x=np.float32([1])), *examples, *others()])))
    assert [(each.number, each.request.verb if each.request else each.kind) for each in records] == [
        (1, "Predict"), (2, "Classify"), (3, "Regress"), (4, "multi_inference_log"), (5, "session_run_log"),
        (6, "predict_streamed_log"), (7, "none"),
    ]  # fmt: skip
    assert records[1].request and records[1].request.inputs[EXAMPLES].shape == (1,)
    assert not any(each.error for each in records)


def test_kinds_without_a_call_are_all_that_prediction_logs_have() -> None:
    kinds = {field.name for field in serving_message("PredictionLog").DESCRIPTOR.oneofs_by_name["log_type"].fields}
    assert kinds == {"predict_log", "classify_log", "regress_log"} | set(NOT_SENT) - {"none"}


def test_label_of_a_request_is_kept(tmp_path: Path) -> None:
    log = predict("a")
    log.predict_log.request.model_spec.version_label = "canary"
    (record,) = read_log(write_log(tmp_path / "log", [log]))
    assert record.request and (record.request.label, record.request.version) == ("canary", None)


def test_answers_are_read_only_if_they_are_wanted(tmp_path: Path) -> None:
    log = predict("a")
    log.predict_log.response.outputs["y"].CopyFrom(predict("a", x=np.float32([1])).predict_log.request.inputs["x"])
    path = write_log(tmp_path / "log", [log])
    for answers in (True, False):
        (record,) = read_log(path, answers=answers)
        assert record.request and set(record.request.outputs) == ({"y"} if answers else set())


def test_records_that_cannot_be_read_are_named_and_the_next_ones_are_read(tmp_path: Path) -> None:
    resource = predict("a", x=np.float32([1]))
    resource.predict_log.request.inputs["x"].dtype = 20  # DT_RESOURCE
    records = list(read_log(write_log(tmp_path / "log", [b"\xff", resource, predict("a")])))
    assert str(records[0].error).startswith(f"Record 1 of {tmp_path / 'log'} is not a PredictionLog.")
    assert str(records[1].error).startswith(f"Record 2 of {tmp_path / 'log'} cannot be sent again: ")
    assert records[2].request


def test_rest_of_a_cut_file_is_an_error(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [predict("a"), predict("a")])
    log.write_bytes(log.read_bytes()[:-3])
    records = read_log(log)
    assert next(records).request
    with pytest.raises(GoldenError, match="ends within the record"):
        next(records)


def test_a_file_stands_for_itself_and_a_folder_for_its_files(tmp_path: Path) -> None:
    file = write_log(tmp_path / "b" / "log", [])
    write_log(tmp_path / "a.tfrecord", [])
    write_log(tmp_path / ".a.tfrecord", [])
    assert log_files(file) == [file] and log_files(tmp_path / "none") == [tmp_path / "none"]
    assert log_files(tmp_path) == [tmp_path / "a.tfrecord", file]
