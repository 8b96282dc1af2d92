"""The Open Inference Protocol over gRPC (--open_inference_protocol): messages in, messages out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from serving.protocol.open_inference.messages import inference_message
from serving.protocol.open_inference.tensors import (
    DATATYPES,
    MAX_RANK,
    Tensor,
    check_count,
    checked_datatype,
    checked_shape,
    from_binary,
    numpy_dtype,
    reshaped,
    to_binary,
)
from serving.protocol.status import invalid_argument
from serving.protocol.tensors import STRING_BYTES, Array, string_bytes
from serving.server.methods.copies import one_at_a_time
from serving.server.methods.infer import InferenceCall, infer, model_spec, signature_name
from serving.server.methods.inference_info import (
    EXTENSIONS,
    NAME,
    is_model_ready,
    is_server_ready,
    model_metadata,
    repository_index,
    server_version,
)
from serving.server.models.core import ServerCore
from serving.server.observability.request_log import RequestLog

_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> field of InferTensorContents. FP16 and BF16 travel as raw contents only."""


def methods(request_log: RequestLog | None) -> dict[str, Callable[[ServerCore, Any], Any]]:
    """Return the service's methods: each answers a request message.

    Args:
        request_log: logs a sample of the inferences; None turns that off.
    """
    return {
        "ServerLive": lambda core, request: inference_message("ServerLiveResponse")(live=True),
        "ServerReady": lambda core, request: inference_message("ServerReadyResponse")(ready=is_server_ready(core)),
        "ModelReady": _model_ready,
        "ServerMetadata": _server_metadata,
        "ModelMetadata": _model_metadata,
        "ModelInfer": partial(_model_infer, request_log=request_log),
        "RepositoryIndex": _repository_index,
    }


def _model_ready(core: ServerCore, request: Any) -> Any:
    return inference_message("ModelReadyResponse")(ready=is_model_ready(core, request.name, request.version))


def _server_metadata(core: ServerCore, request: Any) -> Any:
    return inference_message("ServerMetadataResponse")(name=NAME, version=server_version(), extensions=EXTENSIONS)


def _model_metadata(core: ServerCore, request: Any) -> Any:
    metadata = model_metadata(core, request.name, request.version, signature_name(""))
    response = inference_message("ModelMetadataResponse")(
        name=metadata.name, versions=metadata.versions, platform=metadata.platform
    )
    for field, tensors in ((response.inputs, metadata.inputs), (response.outputs, metadata.outputs)):
        for name, datatype, shape in tensors:
            field.add(name=name, datatype=datatype, shape=shape)
    return response


def _repository_index(core: ServerCore, request: Any) -> Any:
    response = inference_message("RepositoryIndexResponse")()
    for entry in repository_index(core, ready=request.ready):
        response.models.add(**entry)
    return response


def _model_infer(core: ServerCore, request: Any, request_log: RequestLog | None) -> Any:
    inputs = _inputs(request)
    call = InferenceCall(
        model_spec(core, request.model_name, request.model_version),
        _parameters(request.parameters),
        inputs,
        [(output.name, _parameters(output.parameters)) for output in request.outputs],
    )
    inferred = infer(core, call, lambda name: inputs[name](), request_log)
    response = inference_message("ModelInferResponse")(
        model_name=request.model_name, model_version=str(inferred.version), id=request.id
    )
    tensors = [Tensor.of(name, array) for name, array in inferred.outputs.items()]
    raw = bool(request.raw_input_contents) or any(tensor.datatype not in _FIELDS for tensor in tensors)
    with one_at_a_time(sum(tensor.values.nbytes for tensor in tensors)):
        for tensor in tensors:
            output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
            if raw:
                response.raw_output_contents.append(bytes(to_binary(tensor)))
            else:
                _fill(output.contents, tensor)
    return response


def _parameters(messages: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {}
    for name, parameter in messages.items():
        choice = parameter.WhichOneof("parameter_choice")
        parameters[name] = getattr(parameter, choice) if choice else None
    return parameters


def _inputs(request: Any) -> dict[str, Callable[[], Array]]:
    """Return a function per input that reads its array.

    Raises:
        StatusError: INVALID_ARGUMENT: a name is given twice, an input is in shared memory, or the number of raw contents is not
            that of the inputs.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid_argument(
            f"The request has {len(request.inputs)} inputs and {len(raw)} raw_input_contents; all or none of them must be raw."
        )
    inputs: dict[str, Callable[[], Array]] = {}
    for index, item in enumerate(request.inputs):
        if item.name in inputs:
            raise invalid_argument(f"The input {item.name} is given twice.")
        if "shared_memory_region" in item.parameters:
            raise invalid_argument(f"Input {item.name} is in shared memory, which this server does not support.")
        if raw and item.HasField("contents"):
            raise invalid_argument(f"Input {item.name} has both contents and raw_input_contents.")
        inputs[item.name] = partial(_array, item, raw[index] if raw else None)
    return inputs


def _array(item: Any, raw: bytes | None) -> Array:
    datatype, shape = checked_datatype(item.name, item.datatype), checked_shape(item.name, list(item.shape))
    with one_at_a_time(len(raw) if raw is not None else item.ByteSize()):
        if raw is not None:
            return from_binary(item.name, datatype, shape, memoryview(raw)).array
        return reshaped(item.name, _typed(item, datatype), shape)


def _typed(item: Any, datatype: str) -> Array:
    used = [field.name for field, _ in item.contents.ListFields()]
    if datatype not in _FIELDS:
        raise invalid_argument(f"Input {item.name} of type {datatype} must be sent in raw_input_contents.")
    field = _FIELDS[datatype]
    if set(used) - {field}:
        raise invalid_argument(f"Input {item.name} of type {datatype} must have its values in {field}, not in {used[0]}.")
    values = getattr(item.contents, field)
    if datatype == "BYTES":
        strings = np.empty(len(values), np.object_)
        strings[:] = list(values)
        return strings
    dtype = np.dtype(DATATYPES[datatype])
    narrow = field in ("int_contents", "uint_contents")
    array = np.fromiter(values, np.int64 if narrow else dtype, len(values))
    if narrow and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise invalid_argument(f"Input {item.name} has a number that {datatype} cannot hold.")
    return array.astype(dtype, copy=False)


def _fill(contents: Any, tensor: Tensor) -> None:
    values = tensor.values.ravel().tolist()
    getattr(contents, _FIELDS[tensor.datatype]).extend(
        map(string_bytes, values) if tensor.datatype == "BYTES" else values
    )


def inference_size(request: Any) -> tuple[int, int]:
    """Return how many elements and about how many bytes the arrays of a ModelInferRequest have, without making them.

    Args:
        request: the message. What else is wrong with it is found when its inputs are read.

    Raises:
        StatusError: INVALID_ARGUMENT: it has more inputs than any model.
    """
    check_count(len(request.inputs))
    elements = size = 0
    raw = request.raw_input_contents
    for index, item in enumerate(request.inputs):
        if item.datatype not in DATATYPES or len(item.shape) > MAX_RANK:
            continue
        if index < len(raw):
            # A shape can name any number of elements; there are no more than the bytes have room for.
            least = 4 if item.datatype == "BYTES" else numpy_dtype(item.datatype).itemsize
            count = min(len(raw[index]) // least, math.prod(item.shape) if min(item.shape, default=0) >= 0 else 0)
            size += len(raw[index])
        else:
            count = sum(len(value) for _, value in item.contents.ListFields())
            size += item.ByteSize()
        elements += count
        size += count * (STRING_BYTES + 8 if item.datatype == "BYTES" else numpy_dtype(item.datatype).itemsize)
    return elements, size
