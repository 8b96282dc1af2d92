"""JSON bodies of predict: numbers survive, errors are the server's. The recordings in tests/serving/server cover the rest."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from serving.protocol.json_codec import read_predict, write_error, write_predictions
from serving.protocol.json_text import decode_base64
from serving.protocol.messages import enum
from serving.protocol.status import GRPC_MESSAGE_LIMIT, Code, StatusError
from serving.protocol.tensors import dtype_name

DTYPES = {value.name: value.number for value in enum("tensorflow.DataType").values}


@pytest.mark.parametrize("name", ["DT_FLOAT", "DT_DOUBLE", "DT_INT32", "DT_INT64", "DT_UINT8", "DT_UINT64", "DT_INT8"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_numbers_become_arrays(name: str, form: str) -> None:
    body = json.dumps({form: [[1, 2], [3, 4]]}).encode()
    array = read_predict(body).tensors({"x": DTYPES[name]})["x"]
    want = np.array([[1, 2], [3, 4]], dtype_name(DTYPES[name]))
    assert array.dtype == want.dtype
    assert array.shape == want.shape
    assert np.array_equal(array, want)


@pytest.mark.parametrize(
    ("text", "value", "quoted"),
    [
        ("9.999999999999999", 10.0, "10.0"),
        ("1e-30", 9.9999999999999991e-31, "9.999999999999999e-31"),
        ("1.23456789012345678", 1.2345678901234569, "1.234567890123457"),
        ("0.92218856246988745", 0.92218856246988734, "0.9221885624698873"),
        ("123456789012345678901234567890.5", 1.2345678901234566e29, "1.2345678901234566e29"),
        ("3.4028234663852886e38", 3.402823466385289e38, "3.402823466385289e38"),
        ("1e23", 9.9999999999999992e22, "9.999999999999999e22"),
        ("18446744073709551616", 2.0**64, "18446744073709553000.0"),
        ("36028797018963968.0", 2.0**55, "36028797018963970.0"),
        ("2e-308", 0.0, "0.0"),
        ("0." + "0" * 5000 + "1", 0.0, "0.0"),
        ("1." + "0" * 5000 + "1", 1.0, "1.0"),
        ("2.2250738585072014e-308", 2.2250738585072014e-308, "2.2250738585072014e-308"),
        ("1.7976931348623157e308", 1.7976931348623157e308, "1.7976931348623157e308"),
        ("-0.3", -0.3, "-0.3"),
        ("0.000001", 1e-6, "0.000001"),
    ],
)
@pytest.mark.parametrize("body", ['{"inputs": [%s]}', '{"instances": [%s]}', '{"inputs": [%s], "inputs": 0}'])
def test_doubles_are_read_and_quoted_as_rapidjson_does(text: str, value: float, quoted: str, body: str) -> None:
    """Values and quotes are those of RapidJSON 1.1 itself."""
    request = read_predict((body % text).encode())
    array = request.tensors({"x": DTYPES["DT_DOUBLE"]})["x"]
    assert array.dtype == np.float64
    assert array.tolist() == [value]
    with pytest.raises(StatusError) as wrong:
        request.tensors({"x": DTYPES["DT_BOOL"]})
    assert f"JSON Value: {quoted} Type: Number is not of expected type: bool" in str(wrong.value)


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ('{"x": 1, "x": 2}, {"x": 3}', [1, 2]),
        ('{"x\\u0000y": 1}', [1]),
        ('{"x": 1, "x": "a"}', 'element: 0 key: x of .* "a" Type: String is not of expected type: float'),
        ('{"x": 1, "x": [2]}', r"Expecting shape \[\] but got: \[1\]"),
        ('{"b64": "YQ==", "b64": "Yg=="}', "does not have named input: b64"),
    ],
)
def test_an_object_keeps_all_members_of_a_key(rows: str, answer: Any) -> None:
    request = read_predict(f'{{"instances": [{rows}]}}'.encode())
    if isinstance(answer, str):
        with pytest.raises(StatusError, match=answer):
            request.tensors({"x": DTYPES["DT_FLOAT"]})
        return
    assert request.tensors({"x": DTYPES["DT_FLOAT"]})["x"].tolist() == answer


def test_repeated_keys_are_quoted() -> None:
    with pytest.raises(StatusError, match='"signature_name": 3,\n    "signature_name": "a"'):
        read_predict(b'{"signature_name": 3, "signature_name": "a"}')


def test_rows_of_objects_become_one_array_per_input() -> None:
    body = json.dumps({"instances": [{"a": [1.5, 2], "b": "x"}, {"a": [3, 4], "b": {"b64": "eQ=="}}]}).encode()
    arrays = read_predict(body).tensors({"a": DTYPES["DT_FLOAT"], "b": DTYPES["DT_STRING"]})
    assert np.array_equal(arrays["a"], np.array([[1.5, 2], [3, 4]], np.float32))
    assert arrays["b"].tolist() == [b"x", b"y"]


def test_booleans_are_not_numbers() -> None:
    with pytest.raises(StatusError, match="JSON Value: true Type: True is not of expected type: float"):
        read_predict(b'{"inputs": [1.5, true]}').tensors({"x": DTYPES["DT_FLOAT"]})


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    body = b'{"inputs": ' + b"[" * 5000 + b"1" + b"]" * 5000 + b"}"
    with pytest.raises(StatusError, match="5000 dimensions"):
        read_predict(body).tensors({"x": DTYPES["DT_FLOAT"]})


def test_outputs_of_every_shape_are_written_as_json() -> None:
    arrays = {"scalar": np.float32(1.5), "empty": np.zeros((2, 0), np.int64), "cube": np.arange(8.0).reshape(2, 2, 2)}
    reply = json.loads(write_predictions({name: np.asarray(value) for name, value in arrays.items()}, row=False))
    assert reply == {"outputs": {name: np.asarray(value).tolist() for name, value in arrays.items()}}
    rows = json.loads(write_predictions({"a": np.eye(2), "b": np.array(["x", b"y"], object)}, row=True))
    assert rows == {"predictions": [{"a": [1.0, 0.0], "b": "x"}, {"a": [0.0, 1.0], "b": "y"}]}
    assert json.loads(write_predictions({"a": np.zeros((0, 3))}, row=True)) == {"predictions": []}


def test_outputs_of_different_batch_sizes_cannot_be_written_as_rows() -> None:
    with pytest.raises(StatusError, match="Tensor name: b has inconsistent batch size: 3 expecting: 2"):
        write_predictions({"a": np.zeros(2), "b": np.zeros(3)}, row=True)


def test_bytes_are_written_as_base64() -> None:
    data = bytes(range(256))
    reply = json.loads(write_predictions({"image_bytes": np.array([data], object)}, row=True))
    assert decode_base64(reply["predictions"][0]["b64"]) == data


def test_long_messages_are_cut_over_grpc_but_not_over_rest() -> None:
    error = StatusError(Code.INTERNAL, "x" * 2000)
    assert error.grpc_message == "x" * GRPC_MESSAGE_LIMIT + "...TRUNCATED"
    assert json.loads(write_error(error.message)) == {"error": "x" * 2000}


@pytest.mark.parametrize(
    "values", [["a" * 130_000, *[1] * 40_000], [*[1] * 40_000, '"' * 60_000], [[1, 2], ["a" * 130_000, 2]], "a" * 130_000]
)
def test_long_text_among_numbers_takes_no_memory(values: object) -> None:
    """NumPy would give every element the size of the longest: 19 GiB for the first body, of 250 KB."""
    body = json.dumps({"inputs": values}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(StatusError, match="Type: String is not of expected type: float"):
            read_predict(body).tensors({"x": 1})
        assert tracemalloc.get_traced_memory()[1] < 40 * len(body)
    finally:
        tracemalloc.stop()
