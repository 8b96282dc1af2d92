"""Requests are measured before they are decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serving.protocol.messages import serving_message
from serving.protocol.status import Code, StatusError
from serving.protocol.tensors import from_proto, to_proto
from serving.server.config.options import ServerOptions
from serving.server.grpc_api.request_size import decoded_bytes

OPTIONS = ServerOptions(max_tensor_elements=1000, max_decoded_bytes=20_000)


def predict(*tensors: tuple[list[int], int]) -> Any:
    request = serving_message("PredictRequest")()
    for at, (shape, dtype) in enumerate(tensors):
        tensor = request.inputs[str(at)]
        tensor.dtype = dtype
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    return request


def classify(count: int, context: int = 0) -> Any:
    request = serving_message("ClassificationRequest")()
    part = request.input.example_list_with_context if context else request.input.example_list
    for _ in range(count):
        part.examples.add()
    if context:
        part.context.features.feature["x"].bytes_list.value.append(bytes(context))
    return request


@pytest.mark.parametrize(
    "request_message",
    [
        predict(([1001], 1)), predict(([500], 1), ([501], 1)), predict(([10, 101, 1], 4)), predict(([2**31, 2**31], 1)),
        predict(([1000], 18), ([], 1)), classify(1001),
    ],
)  # fmt: skip
def test_too_many_elements_are_refused(request_message: Any) -> None:
    with pytest.raises(StatusError, match=r"elements in all its tensors or examples, more than the limit of 1,000") as refused:
        decoded_bytes(request_message, OPTIONS)
    assert refused.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("request_message", [predict(([700], 18), ([300], 18), ([0], 1)), classify(5, 5000), classify(30)])
def test_too_many_bytes_are_refused(request_message: Any) -> None:
    options = ServerOptions(max_tensor_elements=10**6, max_decoded_bytes=15_000)
    with pytest.raises(StatusError, match=r"bytes when it is decoded, more than the limit of 15,000 \(--max_decoded_bytes\)"):
        decoded_bytes(request_message, options)


@pytest.mark.parametrize(
    "request_message",
    [predict(([1000], 1)), predict(([0, 2**40], 1)), predict(), classify(10, 50), serving_message("GetModelMetadataRequest")()],
)
def test_what_fits_is_let_through(request_message: Any) -> None:
    assert decoded_bytes(request_message, OPTIONS) <= 20_000


@pytest.mark.parametrize("tensors", [([2**31] * 3, 1), ([-1, 4], 1), ([4], 99)])
def test_tensors_that_cannot_be_read_are_left_to_their_own_error(tensors: tuple[list[int], int]) -> None:
    assert decoded_bytes(predict(tensors), OPTIONS) == 0


@pytest.mark.parametrize(
    "array",
    [np.ones((3, 5), np.float32), np.ones(7, np.complex128), np.zeros((), np.int8), np.ones(9, np.bool_)],
)
def test_size_is_that_of_the_array(array: np.ndarray[Any, Any]) -> None:
    request = serving_message("PredictRequest")()
    request.inputs["x"].CopyFrom(to_proto(array))
    assert decoded_bytes(request, OPTIONS) == from_proto(request.inputs["x"]).nbytes


def test_strings_count_with_their_objects() -> None:
    request = serving_message("PredictRequest")()
    request.inputs["x"].CopyFrom(to_proto(np.array([b"ab"] * 100, np.object_)))
    assert 100 * 50 < decoded_bytes(request, OPTIONS) < 100 * 100
