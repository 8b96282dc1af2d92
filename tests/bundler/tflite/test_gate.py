"""The gate's arithmetic, and how a file of fixed sizes answers any number of rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.adapters.samples import SampleFormat
from bundler.errors import SourceError, UsageError
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite.evaluate import Evaluation, FileAnswers, Predict
from bundler.tflite.gate import Agreement, Gate, GateFigures, agreement
from bundler.values.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]


def test_agreement_of_floats() -> None:
    want = np.array([[3.0, 4.0], [0.0, 5.0]])
    found = Agreement.of(want, want + np.eye(2) / 2)
    assert found.sqnr_db == pytest.approx(10 * math.log10(50 / 0.5))
    assert found.cosine == pytest.approx((3 * 3.5 + 16 + 27.5) / math.sqrt(50 * (3.5**2 + 16 + 5.5**2)))
    assert found.top1 == 1
    assert Agreement.of(want, want[:, ::-1]).top1 == 0
    assert Agreement.of(want, want).sqnr_db == math.inf
    assert "sqnr_db" not in Agreement.of(want, want).to_json()
    assert Agreement.of(want, want * np.nan).sqnr_db == -math.inf
    assert Agreement.of(np.array([1.0, 2.0]), np.array([1.0, 2.0])).top1 is None  # one number a call: no classes


def test_agreement_where_pytorch_itself_is_infinite_is_of_the_rest() -> None:
    want = np.array([[1.0, -np.inf], [-np.inf, 1.0]])
    assert Agreement.of(want, np.where(np.isinf(want), -1e9, 0.9)).sqnr_db == pytest.approx(20)


def test_agreement_of_integers_and_of_sizes_that_depend_on_the_data() -> None:
    want = [
        {"label": np.array([1, 2]), "found": np.ones((3, 2)), "gone": np.ones(2)},
        {"label": np.array([3, 4]), "found": np.ones((1, 2)), "gone": np.ones(2)},
    ]
    got = [{"label": np.array([1, 2]), "found": np.ones((3, 2)) * 0.9}, {"label": np.array([3, 5]), "found": np.ones((1, 2))}]
    found = agreement(want, got)
    assert set(found) == {"label", "found"}
    assert found["label"] == Agreement(top1=0.75)
    assert found["found"].sqnr_db == pytest.approx(10 * math.log10(8 / 0.06))


@pytest.mark.parametrize(
    ("metric", "passes"), [(0.98, True), (0.97, True), (0.9699, False), (0.99, True), (None, False)]
)
def test_the_floor_of_a_metric(metric: float | None, passes: bool) -> None:
    gate = Gate(TfliteSpec(), "m.py:accuracy", 0.98)
    complaint = gate.complaint(GateFigures(metric=metric))
    assert (complaint is None) == passes
    if not passes:
        assert "PyTorch's is 0.98, and max_drop 0.01 asks for 0.97" in str(complaint)


def test_agreement_alone_is_gated_where_there_is_no_metric() -> None:
    figures = GateFigures({"a": Agreement(12.0, 0.99, 0.8), "b": Agreement(9.0, 0.99, 1.0), "n": Agreement(top1=0.5)})
    assert Gate(TfliteSpec(min_sqnr=9)).complaint(figures) is None
    assert "output b: SQNR 9.0 dB" in str(Gate(TfliteSpec()).complaint(figures))
    assert "output a: 80.0%" in str(Gate(TfliteSpec(min_sqnr=9, min_top1=0.9)).complaint(figures))
    assert "output n: 50.0%" in str(Gate(TfliteSpec(min_sqnr=9, min_top1=0.7)).complaint(figures))
    assert Gate(TfliteSpec(), "m:f", 1.0).complaint(GateFigures(figures.agreement, metric=1.0)) is None


SIGNATURE = Signature(
    (TensorSpec.parse("x=float32[batch,2]"), TensorSpec.parse("scale=float32[]")),
    (TensorSpec.parse("y=float32[2,batch]"), TensorSpec.parse("total=float32[]")),
)


class File:
    """A file of three rows: y is x turned, times scale."""

    inputs = (TensorSpec("x", "float32", (3, 2)), TensorSpec("scale", "float32", ()))

    def __init__(self) -> None:
        self.calls: list[Array] = []

    def in_floats(self, call: dict[str, Array]) -> dict[str, Array]:
        self.calls.append(call["x"])
        assert call["x"].shape == (3, 2)
        return {"y": call["x"].T * call["scale"], "total": call["x"].sum()}


def rows(count: int) -> Array:
    return np.arange(count * 2, dtype=np.float32).reshape(count, 2)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_number_of_rows_goes_through_a_file_of_three(count: int) -> None:
    outputs = (SIGNATURE.outputs[0],)
    file = File()
    answers = FileAnswers(Signature(SIGNATURE.inputs, outputs), [file], {})  # type: ignore[list-item]
    got = Predict(SIGNATURE, answers)(x=rows(count), scale=np.float32(2))["y"]
    np.testing.assert_array_equal(got, rows(count).T * 2)
    assert len(file.calls) == -(-count // 3)


def test_an_output_without_rows_cannot_be_joined() -> None:
    answers = FileAnswers(SIGNATURE, [File()], {})  # type: ignore[list-item]
    assert answers({"x": rows(3), "scale": np.float32(1)})["total"] == 15
    with pytest.raises(UsageError, match="the output total=float32\\[\\] has no batch axis to join them"):
        answers({"x": rows(4), "scale": np.float32(1)})


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


def measured(folder: Path, function: str) -> float:
    (folder / "labelled.py").write_text(LABELLED)
    evaluation = Evaluation.of(f"labelled.py:{function}", SampleFormat(CLASSES, {"x": (1, 3)}), base=folder)
    return evaluation.measure(Predict(CLASSES, lambda call: {"logits": call["x"]}))


def test_labelled_samples_give_the_accuracy(tmp_path: Path) -> None:
    assert measured(tmp_path, "one_by_one") == 0.8
    assert measured(tmp_path, "in_batches") == 0.75


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        ("too_few_labels", UsageError, r"item 0 has 3 row\(s\) and the labels \[0, 1\]"),
        ("words", UsageError, r"item 0 has 1 row\(s\) and the labels 'cat'"),
        ("nan", UsageError, r"Evaluation sample labelled\.py:nan item 1: the input 'x' has NaN"),
        ("wide", UsageError, r"Evaluation sample labelled\.py:wide item 0: the input 'x' has the shape \[4\]"),
        ("nothing", UsageError, "yields no sample"),
        ("no_label", UsageError, r"Evaluation sample labelled\.py:no_label item 1 has no label"),
        ("word", UsageError, "gave 'good', which is no finite number"),
        ("nan_metric", UsageError, "gave nan, which is no finite number"),
        ("narrow", UsageError, r"predict got x=float32\[3, 5\]\.(.|\n)*the model takes x=float32\[batch,3\]"),
        ("other_name", UsageError, r"predict got image\.(.|\n)*the model takes x=float32\[batch,3\]"),
        ("doubles", SourceError, r"doubles raised: "),
        ("stops", SourceError, r"The evaluate function labelled\.py:stops raised: OSError: disk gone(.|\n)*labelled\.py:49"),
        ("absent", UsageError, r"no function 'absent' in labelled\.py"),
    ],
)
def test_labelled_samples_that_cannot_be_used(
    tmp_path: Path, function: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        measured(tmp_path, function)
