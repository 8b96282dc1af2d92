"""Bodies of inference requests over REST: a JSON object, which may be followed by the bytes of binary tensors."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from serving.protocol.float_texts import decimal_texts
from serving.protocol.json_parser import parse_object
from serving.protocol.json_text import quote
from serving.protocol.open_inference.tensors import (
    DATATYPES,
    Tensor,
    check_count,
    checked_datatype,
    checked_shape,
    from_binary,
    reshaped,
    to_binary,
)
from serving.protocol.status import StatusError, invalid_argument
from serving.protocol.tensors import Array, string_bytes
from serving.texts import is_utf8

Parameters = Mapping[str, Any]
DAMAGED = "The body is not gzip, or is damaged or too large when unpacked."
_FLOATS = ("FP16", "FP32", "FP64")


class RequestedOutput(NamedTuple):
    """An output that a request asks for.

    Attributes:
        name: name of the output.
        parameters: its parameters.
    """

    name: str
    parameters: Parameters


@dataclass(frozen=True)
class InferenceHead:
    """The JSON object of a request, whose tensors are not read yet.

    Attributes:
        id: the client's name for the request; empty if it gave none.
        parameters: parameters of the request.
        inputs: the members of each input.
        outputs: the outputs that it asks for; none for all.
    """

    id: str
    parameters: Parameters
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[RequestedOutput, ...]

    @property
    def has_plain_numbers(self) -> bool:
        """Whether all inputs are binary numbers, which are read without looking at their elements."""
        return all("data" not in item and item.get("datatype") != "BYTES" for item in self.inputs)


def split_body(body: bytes | bytearray, json_length: int | None) -> tuple[bytes, memoryview]:
    """Return the JSON of a body and the bytes after it.

    Args:
        body: the body.
        json_length: bytes of the JSON according to the header Inference-Header-Content-Length; None for all.

    Raises:
        StatusError: INVALID_ARGUMENT: the body is shorter than that.
    """
    if json_length is None:
        return bytes(body), memoryview(b"")
    if json_length > len(body):
        raise invalid_argument(f"The JSON has {json_length} bytes by Inference-Header-Content-Length; the body has {len(body)}.")
    return bytes(body[:json_length]), memoryview(body)[json_length:]


def read_flag(body: bytes, name: str, max_nesting: int | None = None) -> bool:
    """Return a boolean member of a JSON object; False if it is missing.

    Raises:
        StatusError: INVALID_ARGUMENT: the body is not an object, or the member is not a boolean.
    """
    value = parse_object(body, max_nesting=max_nesting).get(name, False)
    if not isinstance(value, bool):
        raise invalid_argument(f"'{name}' must be true or false.")
    return value


def read_head(body: bytes, max_nesting: int | None = None) -> InferenceHead:
    """Parse the JSON object of a request.

    Args:
        body: the JSON without the binary tensors.
        max_nesting: most arrays and objects inside each other; None for no limit.

    Raises:
        StatusError: INVALID_ARGUMENT: it is not an object of the protocol's form.
    """
    document = parse_object(body, max_nesting=max_nesting)
    identity = document.get("id", "")
    if not isinstance(identity, str) or not is_utf8(identity):
        raise invalid_argument("'id' must be a string.")
    inputs = tuple(_objects(document, "inputs"))
    check_count(len(inputs))
    _check_names([item.get("name") for item in inputs], "input")
    requested = _objects(document, "outputs") if "outputs" in document else []
    _check_names([item.get("name") for item in requested], "output")
    return InferenceHead(
        identity,
        _parameters(document),
        inputs,
        tuple(RequestedOutput(item["name"], _parameters(item)) for item in requested),
    )


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid_argument(f"'{key}' must be an array of objects.")
    return items


def _check_names(names: Sequence[object], kind: str) -> None:
    seen = set()
    for name in names:
        if not isinstance(name, str) or not is_utf8(name):
            raise invalid_argument(f"Each {kind} must have a 'name', which is a string.")
        if name in seen:
            raise invalid_argument(f"The {kind} {name} is given twice.")
        seen.add(name)


def _parameters(item: Mapping[str, Any]) -> Parameters:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict) or any(isinstance(value, list | dict) for value in parameters.values()):
        raise invalid_argument("'parameters' must be an object of strings, numbers and booleans.")
    return parameters


def read_tensors(head: InferenceHead, binary: memoryview) -> list[Tensor]:
    """Return the inputs of a request.

    Args:
        head: its JSON object.
        binary: the bytes after it.

    Raises:
        StatusError: INVALID_ARGUMENT: an input has no data, data that do not match its datatype and shape, or a reference to
            shared memory; or bytes are missing or left.
    """
    tensors, at = [], 0
    for item in head.inputs:
        name, size = item["name"], _binary_size(item, len(binary) - at)
        datatype, shape = checked_datatype(name, item.get("datatype")), checked_shape(name, item.get("shape"))
        if size is None:
            if "data" not in item:
                raise invalid_argument(f"Input {name} has neither 'data' nor the parameter binary_data_size.")
            tensors.append(Tensor(name, datatype, _from_json(name, datatype, shape, item["data"])))
        else:
            tensors.append(from_binary(name, datatype, shape, binary[at : at + size]))
            at += size
    if at != len(binary):
        raise invalid_argument(f"The body has {len(binary) - at} bytes after its JSON and binary tensors.")
    return tensors


def _binary_size(item: Mapping[str, Any], left: int) -> int | None:
    name, parameters = item["name"], _parameters(item)
    if "shared_memory_region" in parameters:
        raise invalid_argument(f"Input {name} is in shared memory, which this server does not support.")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if "data" in item:
        raise invalid_argument(f"Input {name} has both 'data' and the parameter binary_data_size.")
    if type(size) is not int or size < 0:
        raise invalid_argument(f"The parameter binary_data_size of input {name} must be a number of bytes.")
    if size > left:
        raise invalid_argument(
            f"Input {name} has a binary_data_size of {size}, but {left} bytes are left after the JSON object, "
            "whose length the header Inference-Header-Content-Length gives."
        )
    return size


def _from_json(name: str, datatype: str, shape: tuple[int, ...], data: object) -> Array:
    if datatype == "BF16":
        raise invalid_argument(f"Input {name}: JSON has no BF16; send it as a binary tensor.")
    flat = _flattened(name, shape, data)
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        return reshaped(name, _texts(name, flat, kinds), shape)
    allowed = {bool} if datatype == "BOOL" else {int, float} if datatype in _FLOATS else {int}
    if not kinds <= allowed:
        raise invalid_argument(f"The data of input {name} must be {'true or false' if datatype == 'BOOL' else datatype}.")
    return reshaped(name, _numbers(name, datatype, flat), shape)


def _flattened(name: str, shape: tuple[int, ...], data: object) -> list[Any]:
    """Return the elements of an array that is flat, or nested like the shape."""
    if not isinstance(data, list):
        raise invalid_argument(f"The data of input {name} must be an array.")
    if not data or not isinstance(data[0], list):
        return data
    if not shape or len(data) != shape[0]:
        raise invalid_argument(f"The data of input {name} are not nested like its shape {list(shape)}.")
    for size in shape[1:]:
        if any(type(part) is not list or len(part) != size for part in data):
            raise invalid_argument(f"The data of input {name} are not nested like its shape {list(shape)}.")
        data = list(chain.from_iterable(data))
    return data


def _texts(name: str, flat: list[Any], kinds: Collection[type]) -> Array:
    if set(kinds) - {str}:
        raise invalid_argument(f"The data of input {name} must be strings; send other bytes as a binary tensor.")
    strings = np.empty(len(flat), np.object_)
    strings[:] = [text.encode("utf-8", "surrogateescape") for text in flat]
    return strings


def _numbers(name: str, datatype: str, flat: list[Any]) -> Array:
    dtype = np.dtype(DATATYPES[datatype])
    try:
        if datatype in _FLOATS:
            with np.errstate(over="ignore"):
                return np.array(flat, np.float64).astype(dtype)
        wide = np.array(flat, np.uint64 if datatype == "UINT64" else np.bool_ if datatype == "BOOL" else np.int64)
    except OverflowError:
        raise _out_of_range(name, datatype) from None
    if datatype != "BOOL" and wide.size:
        limits = np.iinfo(dtype)
        if int(wide.min()) < limits.min or int(wide.max()) > limits.max:
            raise _out_of_range(name, datatype)
    return wide.astype(dtype)


def _out_of_range(name: str, datatype: str) -> StatusError:
    return invalid_argument(f"The data of input {name} have a number that {datatype} cannot hold.")


def write_answer(head: Mapping[str, Any], outputs: Sequence[Tensor], binary: Collection[str]) -> tuple[bytes, int | None]:
    """Return the body of a reply, and the length of its JSON if bytes follow it, else None.

    Args:
        head: the members before the outputs: model_name, model_version, id.
        outputs: the tensors.
        binary: names of the outputs that are written as bytes after the JSON.

    Raises:
        StatusError: INVALID_ARGUMENT: JSON cannot carry an output.
    """
    parts = {tensor.name: to_binary(tensor) for tensor in outputs if tensor.name in binary}
    texts = (_output_text(tensor, parts.get(tensor.name)) for tensor in outputs)
    start = json.dumps(dict(head), ensure_ascii=False)[:-1]
    text = f'{start}, "outputs": [{", ".join(texts)}]}}'.encode("utf-8", "surrogateescape")
    return (b"".join((text, *parts.values())), len(text)) if parts else (text, None)


def _output_text(tensor: Tensor, data: bytes | memoryview | None) -> str:
    shape = json.dumps(list(tensor.values.shape))
    head = f'{{"name": {quote(tensor.name)}, "datatype": "{tensor.datatype}", "shape": {shape}, '
    if data is not None:
        return f'{head}"parameters": {{"binary_data_size": {len(data)}}}}}'
    return f'{head}"data": [{", ".join(_value_texts(tensor))}]}}'


def _value_texts(tensor: Tensor) -> Iterator[str]:
    flat = tensor.values.ravel()
    if tensor.datatype == "BF16":
        raise invalid_argument(f"JSON has no BF16; ask for output {tensor.name} with the parameter binary_data.")
    if tensor.datatype == "BYTES":
        return (_quoted(tensor.name, value) for value in flat.tolist())
    if tensor.datatype == "BOOL":
        return ("true" if value else "false" for value in flat.tolist())
    if tensor.datatype in _FLOATS:
        return iter(decimal_texts(flat.astype(np.float32) if tensor.datatype == "FP16" else flat))
    return map(str, flat.tolist())


def _quoted(name: str, value: object) -> str:
    try:
        return quote(string_bytes(value).decode())
    except UnicodeDecodeError:
        shown = base64.b64encode(string_bytes(value)[:32]).decode()
        raise invalid_argument(
            f"Output {name} has bytes that are not UTF-8 text (base64: {shown}); ask for it with the parameter binary_data."
        ) from None
