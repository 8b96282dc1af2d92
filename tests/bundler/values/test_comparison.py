"""The comparison of two sets of outputs."""

from __future__ import annotations

import numpy as np

from bundler.errors import ParityError
from bundler.values.comparison import SAVED_MODEL, differences, failed_rows


def test_wrong_dtypes_shapes_and_names_are_problems() -> None:
    want = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.int64), "c": np.zeros(1, np.float32)}
    got = {"a": np.zeros((2, 4), np.float32), "b": np.zeros(2, np.int32), "d": np.zeros(1, np.float32)}
    problems = {d.output: d.problem for d in differences(want, got)}
    assert problems == {
        "a": "expected shape [2, 3], got [2, 4]",
        "b": "expected dtype int64, got int32",
        "c": "not among the outputs ['a', 'b', 'd']",
        "d": "the PyTorch model has no such output",
    }


def test_an_output_that_is_not_a_tensor_is_a_problem() -> None:
    (difference,) = differences({"a": np.zeros(1)}, {"a": [0.0]})
    assert difference.problem == "expected a tensor, got a list"


def test_a_failed_call_fails_each_of_its_outputs() -> None:
    error = ParityError("TensorFlow stopped.")
    rows = list(failed_rows("serving_default", "random", SAVED_MODEL, {"a": np.zeros(1), "b": np.zeros(1)}, error))
    assert [(row.difference.output, row.difference.problem) for row in rows] == [
        ("a", "TensorFlow stopped."), ("b", "TensorFlow stopped."),
    ]  # fmt: skip
    assert rows[0].to_json(1.0)["passed"] is False
    assert rows[0].explain().startswith("saved_model, serving_default, draw random: ")
