"""Warm-up records, read with TensorFlow's own reader and TensorFlow Serving's own messages."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from bundler.saved_model.warmup import MAX_RECORDS, write_warmup
from serving.golden.data import Golden, GoldenCase


def _read(path: Path) -> list[prediction_log_pb2.PredictionLog]:
    return [
        prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))
    ]


def _case(signature: str, name: str, **inputs: np.ndarray) -> GoldenCase:
    return GoldenCase(signature, name, inputs, {"y": np.zeros(1, np.float32)})


def test_every_golden_case_becomes_a_request(tmp_path: Path) -> None:
    bits = np.array([1.5, -2], ml_dtypes.bfloat16)
    inputs = {
        "x": np.ones((2, 3), np.float32),
        "half": np.array([1.5], np.float16),
        "coded": bits.view(np.uint16),
        "plain": np.array([3], np.uint16),
        "text": np.array([["ä", "b"]]),
        "flag": np.array(True),
    }
    cases = (_case("serving_default", "a", **inputs), _case("other", "b", z=np.array([7])))
    golden = Golden("m", 1e-4, cases, bfloat16=("serving_default/a/in/coded",))
    path = tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    assert write_warmup(golden, "served", path) == 2
    first, second = (log.predict_log.request for log in _read(path))
    assert (first.model_spec.name, first.model_spec.signature_name) == ("served", "serving_default")
    assert not first.model_spec.HasField("version")
    assert (second.model_spec.name, second.model_spec.signature_name) == ("served", "other")
    got = {name: tf.make_ndarray(tensor) for name, tensor in first.inputs.items()}
    assert set(got) == set(inputs)
    want = inputs | {"coded": bits, "text": np.array([["ä".encode(), b"b"]], np.object_)}
    for name, array in want.items():
        assert got[name].dtype == array.dtype, name
        np.testing.assert_array_equal(got[name], array)
    assert tf.make_ndarray(second.inputs["z"]).tolist() == [7]


@pytest.mark.slow
def test_the_servers_limit_is_kept_and_no_signature_omitted(tmp_path: Path) -> None:
    cases = [_case("a", str(n), x=np.array([n])) for n in range(MAX_RECORDS + 5)]
    golden = Golden("m", 1e-4, (*cases, _case("b", "last", x=np.array([-1]))))
    assert write_warmup(golden, "m", tmp_path / "w") == MAX_RECORDS
    requests = [log.predict_log.request for log in _read(tmp_path / "w")]
    assert len(requests) == MAX_RECORDS
    assert [r.model_spec.signature_name for r in requests].count("b") == 1


def test_the_same_golden_data_gives_the_same_bytes(tmp_path: Path) -> None:
    golden = Golden("m", 1e-4, (_case("s", "a", **{f"x{n}": np.array([n]) for n in range(20)}),))
    write_warmup(golden, "m", tmp_path / "one")
    write_warmup(golden, "m", tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
