"""What a request takes once it is decoded, told from its message before anything is allocated.

A message of a few bytes can stand for arrays of any size: a tensor with one value and a large shape repeats the value, and a
context is put before each of a request's examples. The limits hold for all tensors or examples of a request together.
"""

from __future__ import annotations

from typing import Any

from serving.errors import TensorError
from serving.protocol.status import invalid_argument
from serving.protocol.tensors import decoded_size
from serving.server.config.options import ServerOptions
from serving.server.grpc_api.open_inference import inference_size

_MOST_ELEMENTS = 2**63
"""A shape with as many elements is not a shape; the error for it is the real server's."""


_EXAMPLE_BYTES = 1024
"""Bytes that an example takes, however small it is: its messages, its bytes, and its part of the answer."""


def decoded_bytes(request: Any, options: ServerOptions) -> int:
    """Return how many bytes the arrays of a request take.

    Args:
        request: the message of any method.
        options: the limits.

    Raises:
        StatusError: INVALID_ARGUMENT: it has too many elements or bytes.
    """
    fields = request.DESCRIPTOR.fields_by_name
    if "raw_input_contents" in fields:
        elements, size = inference_size(request)
    elif "inputs" in fields:
        elements, size = _of_tensors(request.inputs)
    elif "input" in fields:
        elements, size = _of_examples(request.input)
    else:
        return 0
    if elements > options.max_tensor_elements:
        raise invalid_argument(
            f"The request has {elements:,} elements in all its tensors or examples, more than the limit of "
            f"{options.max_tensor_elements:,} (--max_tensor_elements)."
        )
    if size > options.max_decoded_bytes:
        raise invalid_argument(
            f"The request takes {size:,} bytes when it is decoded, more than the limit of {options.max_decoded_bytes:,} "
            "(--max_decoded_bytes)."
        )
    return size


def answer_bytes(response: Any) -> int:
    """Return how many bytes the arrays of a response take; 0 for methods whose answers hold none."""
    name = response.DESCRIPTOR.name
    if name == "ModelInferResponse":
        return int(response.ByteSize())
    return _of_tensors(response.outputs)[1] if name == "PredictResponse" else 0


def _of_tensors(inputs: Any) -> tuple[int, int]:
    elements = size = 0
    for alias in inputs:
        try:
            more_elements, more_bytes = decoded_size(inputs[alias])
        except TensorError:
            continue  # reading the tensor raises the same error, which belongs to its input
        if more_elements < _MOST_ELEMENTS:
            elements += more_elements
            size += more_bytes
    return elements, size


def _of_examples(message: Any) -> tuple[int, int]:
    kind = message.WhichOneof("kind")
    if kind is None:
        return 0, 0
    part = getattr(message, kind)
    count = len(part.examples)
    size = int(part.ByteSize()) + count * _EXAMPLE_BYTES
    if kind == "example_list_with_context":
        size += count * int(part.context.ByteSize())
    return count, size
