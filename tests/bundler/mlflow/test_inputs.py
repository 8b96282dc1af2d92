"""Inputs in the forms that MLflow's users give them, and outputs that JSON can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bundler.errors import UsageError
from bundler.mlflow.inputs import to_inputs, to_outputs
from bundler.values.signature import TensorSpec
from serving.protocol.tensors import array_dtype_name, bfloat16_from_float32
from tests.requirements import require_package

X = TensorSpec("x", "float32", ("batch", 2))
IDS = TensorSpec("ids", "int64", ("batch",))
TEXT = TensorSpec("text", "string", ("batch",))
ROWS = np.array([[1, 2], [3, 4]], np.float32)


@pytest.mark.parametrize("data", [{"x": ROWS}, {"x": ROWS.tolist()}, ROWS, ROWS.tolist()])
def test_array_or_list_becomes_the_input(data: Any) -> None:
    arrays = to_inputs(data, [X])
    assert list(arrays) == ["x"] and arrays["x"].dtype == np.float32
    assert np.array_equal(arrays["x"], ROWS)


def test_array_of_the_right_dtype_is_not_copied() -> None:
    assert to_inputs({"x": ROWS}, [X])["x"] is ROWS


def test_columns_of_a_frame_are_inputs_or_features() -> None:
    pandas = require_package("pandas", "pip install pandas")
    by_input = pandas.DataFrame({"ids": [5, 6], "x": [[1, 2], [3, 4]]})
    arrays = to_inputs(by_input, [X, IDS])
    assert list(arrays) == ["x", "ids"]
    assert np.array_equal(arrays["x"], ROWS) and arrays["x"].dtype == np.float32
    assert np.array_equal(arrays["ids"], [5, 6]) and arrays["ids"].dtype == np.int64
    by_feature = pandas.DataFrame({"width": np.float32([1, 3]), "height": np.float32([2, 4])})
    assert np.array_equal(to_inputs(by_feature, [X])["x"], ROWS)


def test_bfloat16_is_float32_outside() -> None:
    half = TensorSpec("x", "bfloat16", ("batch", 2))
    given = to_inputs({"x": ROWS}, [half])["x"]
    assert array_dtype_name(given) == "bfloat16"
    answer = to_outputs({"y": bfloat16_from_float32(ROWS)})["y"]
    assert answer.dtype == np.float32 and np.array_equal(answer, ROWS)


def test_text_and_bytes_keep_every_byte() -> None:
    jpeg = {"b64": "/9j/AAA="}  # ends with zeros, which NumPy's own type for bytes drops
    arrays = to_inputs({"text": [jpeg, "grün"]}, [TEXT])
    assert arrays["text"].dtype == object
    assert arrays["text"].tolist() == [b"\xff\xd8\xff\x00\x00", "grün"]
    assert to_inputs({"text": np.array(["a", "b"])}, [TEXT])["text"].tolist() == ["a", "b"]


def test_strings_of_an_answer_are_text_unless_they_are_bytes() -> None:
    words = np.array([[b"gr\xc3\xbcn"]], object)
    answer = to_outputs({"classes": words, "image_bytes": words, "noise": np.array([b"\xff"], object)})
    assert answer["classes"].tolist() == [["grün"]]
    assert answer["image_bytes"].tolist() == [[b"gr\xc3\xbcn"]]
    assert answer["noise"].tolist() == [b"\xff"]


@pytest.mark.parametrize(
    ("data", "specs", "message"),
    [
        ({"y": ROWS}, [X], r"The call has the inputs 'y', but the model takes 'x'\."),
        ({"x": ROWS, "y": ROWS}, [X], "has the inputs 'x', 'y'"),
        ({}, [X], "has the inputs none"),
        (ROWS, [X, IDS], "has 2 inputs, but the call has only a ndarray"),
        (ROWS.astype(np.float64), [X], "The input 'x' is float64, but the model takes x=float32"),
        ({"x": [[1, 2], [3]]}, [X], "The input 'x' is not a float32 tensor"),
        ({"x": "four"}, [X], "The input 'x' is not a float32 tensor"),
        ({"text": [4]}, [TEXT], "a value is int, not text or bytes"),
        ({"text": [{"b64": "%"}]}, [TEXT], "a value is not base64"),
    ],
)
def test_inputs_that_do_not_fit_are_explained(data: Any, specs: list[TensorSpec], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        to_inputs(data, specs)
    assert raised.value.code == "TFB9405"
    assert raised.value.fix == f"give {', '.join(map(str, specs))}"


def test_frame_without_the_inputs_is_explained() -> None:
    pandas = require_package("pandas", "pip install pandas")
    with pytest.raises(UsageError, match="The DataFrame has the columns 'a'"):
        to_inputs(pandas.DataFrame({"a": [1]}), [X, IDS])
