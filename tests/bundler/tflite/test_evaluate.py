"""Evaluate functions, and running a file of fixed sizes on any number of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.adapters.samples import SampleFormat
from bundler.errors import SourceError, UsageError
from bundler.tflite.evaluate import Evaluation, FilePrediction, Predict
from bundler.values.digests import arrays_sha256, file_sha256
from bundler.values.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]


SIGNATURE = Signature(
    (TensorSpec.parse("x=float32[batch,2]"), TensorSpec.parse("scale=float32[]")),
    (TensorSpec.parse("y=float32[2,batch]"), TensorSpec.parse("total=float32[]")),
)


class File:
    """A file that takes three rows: y is x transposed, times scale."""

    inputs = (TensorSpec("x", "float32", (3, 2)), TensorSpec("scale", "float32", ()))

    def __init__(self) -> None:
        self.calls: list[Array] = []

    def run_in_floats(self, call: dict[str, Array], dtypes: dict[str, str]) -> dict[str, Array]:
        assert set(dtypes) <= {"y", "total"}
        self.calls.append(call["x"])
        assert call["x"].shape == (3, 2)
        return {"y": call["x"].T * call["scale"], "total": call["x"].sum()}


def rows(count: int) -> Array:
    return np.arange(count * 2, dtype=np.float32).reshape(count, 2)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_number_of_rows_is_run_on_a_file_of_three_rows(count: int) -> None:
    outputs = (SIGNATURE.outputs[0],)
    file = File()
    prediction = FilePrediction(Signature(SIGNATURE.inputs, outputs), [file])  # type: ignore[list-item]
    got = Predict(SIGNATURE, prediction)(x=rows(count), scale=np.float32(2))["y"]
    np.testing.assert_array_equal(got, rows(count).T * 2)
    assert len(file.calls) == -(-count // 3)


def test_output_without_a_batch_axis_cannot_be_joined() -> None:
    prediction = FilePrediction(SIGNATURE, [File()])  # type: ignore[list-item]
    assert prediction({"x": rows(3), "scale": np.float32(1)})["total"] == 15
    with pytest.raises(UsageError, match="the output total=float32\\[\\] has no batch axis to join them on"):
        prediction({"x": rows(4), "scale": np.float32(1)})


LABELLED = """
import numpy as np

def one_by_one():
    for i in range(5):
        yield np.eye(3, dtype=np.float32)[i % 3], i % 3 if i else 2

def in_batches():
    yield np.eye(3, dtype=np.float32), np.array([0, 1, 0])
    yield {"x": np.eye(3, dtype=np.float32)[:1]}, [0]

def too_few_labels():
    yield np.eye(3, dtype=np.float32), np.array([0, 1])

def words():
    yield np.eye(3, dtype=np.float32)[0], "cat"

def nan():
    yield np.eye(3, dtype=np.float32)[0], 0
    yield np.full(3, np.nan, np.float32), 0

def wide():
    yield np.zeros(4, np.float32), 0

def nothing():
    return []

def no_label():
    yield np.eye(3, dtype=np.float32)[0], 0
    yield np.eye(3, dtype=np.float32)[0], None

def word(predict):
    return "good"

def nan_metric(predict):
    return float("nan")

def narrow(predict):
    return predict(x=np.ones((3, 5), np.float32))["logits"].sum()

def other_name(predict):
    return predict({"image": np.ones((3, 3), np.float32)})["logits"].sum()

def doubles(predict):
    return predict(np.ones((3, 3)))["logits"].sum()

def stops():
    yield np.eye(3, dtype=np.float32)[0], 0
    raise OSError("disk gone")
"""

CLASSES = Signature((TensorSpec.parse("x=float32[batch,3]"),), (TensorSpec.parse("logits=float32[batch,3]"),))


def metric(folder: Path, function: str) -> float:
    (folder / "labelled.py").write_text(LABELLED)
    evaluation = Evaluation.of(f"labelled.py:{function}", SampleFormat(CLASSES, {"x": (1, 3)}), base=folder)
    return evaluation.measure(Predict(CLASSES, lambda call: {"logits": call["x"]}))


def test_hash_of_the_data_is_that_of_the_inputs_of_all_calls(tmp_path: Path) -> None:
    (tmp_path / "labelled.py").write_text(LABELLED)
    evaluation = Evaluation.of("labelled.py:one_by_one", SampleFormat(CLASSES, {"x": (1, 3)}), base=tmp_path)
    calls = []
    predict = Predict(CLASSES, lambda call: calls.append(call) or {"logits": call["x"]})
    evaluation.measure(predict)
    assert evaluation.data_json(predict, tmp_path) == {
        "calls": len(calls), "inputs_sha256": arrays_sha256(calls),
        "files": 1, "files_sha256": file_sha256(tmp_path / "labelled.py"),
    }  # fmt: skip


def test_labelled_samples_give_the_top1_accuracy(tmp_path: Path) -> None:
    assert metric(tmp_path, "one_by_one") == 0.8
    assert metric(tmp_path, "in_batches") == 0.75


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("too_few_labels", UsageError, r"item 0 has 3 rows but the labels \[0, 1\]"),
        ("words", UsageError, r"item 0 has 1 row but the labels 'cat'"),
        ("nan", UsageError, r"Evaluation sample labelled\.py:nan item 1: the input 'x' has values that are NaN"),
        ("wide", UsageError, r"Evaluation sample labelled\.py:wide item 0: the input 'x' has the shape \[4\]"),
        ("nothing", UsageError, "yields no samples"),
        ("no_label", UsageError, r"Evaluation sample labelled\.py:no_label item 1 has no label"),
        ("word", UsageError, "returned 'good', which is not a finite number"),
        ("nan_metric", UsageError, "returned nan, which is not a finite number"),
        ("narrow", UsageError, r"predict was called with x=float32\[3, 5\]\.(.|\n)*call predict with x=float32\[batch,3\]"),
        ("other_name", UsageError, r"predict was called with image\.(.|\n)*call predict with x=float32\[batch,3\]"),
        ("doubles", SourceError, r"doubles raised: "),
        ("stops", SourceError, r"The evaluate function labelled\.py:stops raised: OSError: disk gone(.|\n)*labelled\.py:49"),
        ("absent", UsageError, r"labelled\.py has no function 'absent'"),
    ],
)
def test_evaluate_function_that_cannot_be_used_is_rejected(
    tmp_path: Path, function: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        metric(tmp_path, function)
