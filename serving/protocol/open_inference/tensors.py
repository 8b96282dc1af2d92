"""Tensors of the Open Inference Protocol: datatypes, shapes, and the bytes of binary tensors.

A `Tensor` holds its values as they travel: BF16 as its bits (uint16), BYTES as objects. `Tensor.array` is what a model takes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import (
    Array,
    array_dtype_name,
    bfloat16_from_bits,
    content_bytes,
    dtype_name,
    string_bytes,
)

DATATYPES: dict[str, str] = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BF16": "bfloat16", "BYTES": "string",
}  # fmt: skip
"""Datatype of the protocol -> dtype name. TensorFlow's complex and quantized types are not among them."""

_NAMES = {dtype: datatype for datatype, dtype in DATATYPES.items()}
MAX_RANK = 64
"""Most dimensions of an input, which is NumPy's limit."""
_MOST_INPUTS = 4096
_LENGTH = struct.Struct("<I")
"""The length before each element of a binary BYTES tensor."""


class Tensor(NamedTuple):
    """A named array with its datatype.

    Attributes:
        name: name of the input or output.
        datatype: a key of DATATYPES.
        values: the array; bits (uint16) for BF16, objects for BYTES.
    """

    name: str
    datatype: str
    values: Array

    @property
    def array(self) -> Array:
        """The array in the form that a model takes and returns."""
        return bfloat16_from_bits(self.values) if self.datatype == "BF16" else self.values

    @classmethod
    def of(cls, name: str, array: Array) -> Tensor:
        """Return an output of a model as a tensor.

        Raises:
            StatusError: UNIMPLEMENTED: the protocol has no datatype for its dtype.
        """
        datatype = datatype_of(name, array_dtype_name(array))
        return cls(name, datatype, np.asarray(array).view(np.uint16) if datatype == "BF16" else array)


def datatype_of(name: str, dtype: str) -> str:
    """Return the protocol's datatype for a dtype name.

    Args:
        name: the tensor, for the error.
        dtype: name of its dtype.

    Raises:
        StatusError: UNIMPLEMENTED: there is none.
    """
    if dtype not in _NAMES:
        raise StatusError(Code.UNIMPLEMENTED, f"The Open Inference Protocol has no datatype for tensor {name} of type {dtype}.")
    return _NAMES[dtype]


def metadata_of(name: str, info: Any) -> tuple[str, str, list[int]]:
    """Return name, datatype and shape of a signature's tensor; -1 stands for a size that is not fixed.

    The protocol cannot express an unknown rank; it is shown as one dimension of any size.

    Args:
        name: name of the input or output.
        info: its `tensorflow.TensorInfo` message.

    Raises:
        StatusError: UNIMPLEMENTED: the protocol has no datatype for it.
    """
    shape = [-1] if info.tensor_shape.unknown_rank else [int(dim.size) for dim in info.tensor_shape.dim]
    return name, datatype_of(name, dtype_name(info.dtype)), shape


def numpy_dtype(datatype: str) -> np.dtype[Any]:
    """Return the dtype of `Tensor.values` for a datatype, in little-endian order."""
    if datatype == "BYTES":
        return np.dtype(np.object_)
    return np.dtype("<u2") if datatype == "BF16" else np.dtype(DATATYPES[datatype]).newbyteorder("<")


def check_count(count: int) -> None:
    """Raise if a request has more inputs than any model, before time is spent on each.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if count > _MOST_INPUTS:
        raise invalid_argument(f"The request has {count} inputs; the limit is {_MOST_INPUTS}.")


def checked_datatype(name: str, datatype: object) -> str:
    """Return the datatype of an input.

    Raises:
        StatusError: INVALID_ARGUMENT: it is not one of the protocol's.
    """
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise invalid_argument(f"The datatype of input {name} must be one of {', '.join(DATATYPES)}.")
    return datatype


def checked_shape(name: str, shape: object) -> tuple[int, ...]:
    """Return the shape of an input.

    Raises:
        StatusError: INVALID_ARGUMENT: it is not a list of numbers from 0 on, or has too many of them.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise invalid_argument(f"The shape of input {name} must be an array of numbers.")
    if len(shape) > MAX_RANK:
        raise invalid_argument(f"Input {name} has {len(shape)} dimensions; the limit is {MAX_RANK}.")
    if any(type(size) is not int or not 0 <= size < 2**63 for size in shape):
        raise invalid_argument(f"The shape of input {name} must have the size of every dimension, none of them negative.")
    return tuple(shape)


def reshaped(name: str, flat: Array, shape: tuple[int, ...]) -> Array:
    """Return the elements of an input in its shape.

    Raises:
        StatusError: INVALID_ARGUMENT: the shape has another number of elements, or no array can have it.
    """
    if flat.size != math.prod(shape):
        raise invalid_argument(f"Input {name} has {flat.size} elements; its shape {list(shape)} has {math.prod(shape)}.")
    try:
        return flat.reshape(shape)
    except ValueError as exc:
        raise invalid_argument(f"Input {name} cannot have the shape {list(shape)}: {exc}.") from exc


def from_binary(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """Return a binary tensor; numbers are not copied.

    Args:
        name: name of the input.
        datatype: its datatype.
        shape: its shape.
        data: its bytes: little-endian numbers, one byte per BOOL, or BYTES elements each after its length as a uint32.

    Raises:
        StatusError: INVALID_ARGUMENT: the bytes do not match datatype and shape.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, reshaped(name, _strings(name, count, data), shape))
    dtype = numpy_dtype(datatype)
    if len(data) != count * dtype.itemsize:
        raise invalid_argument(
            f"Input {name} has {len(data)} bytes of data; {datatype} of shape {list(shape)} takes {count * dtype.itemsize}."
        )
    flat = np.frombuffer(data, np.uint8 if datatype == "BOOL" else dtype) if count else np.empty(0, dtype)
    if datatype == "BOOL":
        if flat.size and flat.max() > 1:
            raise invalid_argument(f"Input {name} has the byte {flat.max()} for a BOOL; use 0 or 1.")
        flat = flat.view(np.bool_)
    if not flat.flags.aligned:  # the JSON before it may have any length
        flat = flat.copy()
    return Tensor(name, datatype, reshaped(name, flat, shape))


def _strings(name: str, count: int, data: memoryview) -> Array:
    if count * _LENGTH.size > len(data):
        raise invalid_argument(f"Input {name} has {len(data)} bytes of data; {count} BYTES elements take at least 4 each.")
    strings = np.empty(count, np.object_)
    at = 0
    for index in range(count):
        if at + _LENGTH.size > len(data):
            raise invalid_argument(f"The data of input {name} ends before the length of element {index}.")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if size > len(data) - at:
            raise invalid_argument(f"Element {index} of input {name} has {size} bytes; {len(data) - at} are left.")
        strings[index] = bytes(data[at : at + size])
        at += size
    if at != len(data):
        raise invalid_argument(f"Input {name} has {len(data) - at} bytes of data after its last element.")
    return strings


def to_binary(tensor: Tensor) -> bytes | memoryview:
    """Return the bytes of a binary tensor, as `from_binary` reads them."""
    if tensor.datatype != "BYTES":
        return content_bytes(tensor.values)
    return b"".join(_pieces(tensor.values))


def _pieces(values: Array) -> Iterator[bytes]:
    for value in values.ravel().tolist():
        data = string_bytes(value)
        yield _LENGTH.pack(len(data))
        yield data
