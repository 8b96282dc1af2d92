"""Convert NumPy arrays to TensorProto messages and back, by the rules of TensorFlow's tensor.cc.

When a message is read, `tensor_content` takes precedence over the `*_val` fields. Too few `*_val` repeat the last one, none
gives zeros (empty strings, False), and surplus ones are ignored. DT_STRING becomes an object array of bytes.

NumPy has no bfloat16. DT_BFLOAT16 becomes an array of ml_dtypes' dtype if that package is installed, else a `BFloat16Bits`:
the bits as uint16, in their own class so that they are not mistaken for numbers.

Quantized types, 8-bit floats and integers of 4 and 2 bits are read but not written, because a server's error has to name the
dtype that it was given. They become arrays of ml_dtypes' dtype, or else of a structured dtype whose field has the dtype's
name, which is how TensorFlow's Python API represents quantized types.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import TensorError
from serving.protocol.messages import enum, message

Array = npt.NDArray[Any]


class BFloat16Bits(np.ndarray[Any, np.dtype[np.uint16]]):
    """An array of bfloat16 values, stored as their bits: `np.asarray(bits, np.uint16).view(BFloat16Bits)`."""


@dataclass(frozen=True)
class _Kind:
    """How a TensorProto holds one dtype.

    Attributes:
        name: name of the dtype.
        number: its value in enum tensorflow.DataType (tensorflow/core/framework/types.proto).
        numpy: the NumPy dtype of its elements, or of their bits.
        field: the `*_val` field; complex numbers are pairs of values, half and bfloat16 values are bits.
    """

    name: str
    number: int
    numpy: Any
    field: str


_KINDS = (
    _Kind("float32", 1, np.float32, "float_val"),
    _Kind("float64", 2, np.float64, "double_val"),
    _Kind("int32", 3, np.int32, "int_val"),
    _Kind("uint8", 4, np.uint8, "int_val"),
    _Kind("int16", 5, np.int16, "int_val"),
    _Kind("int8", 6, np.int8, "int_val"),
    _Kind("string", 7, np.object_, "string_val"),
    _Kind("complex64", 8, np.complex64, "scomplex_val"),
    _Kind("int64", 9, np.int64, "int64_val"),
    _Kind("bool", 10, np.bool_, "bool_val"),
    _Kind("bfloat16", 14, np.uint16, "half_val"),
    _Kind("uint16", 17, np.uint16, "int_val"),
    _Kind("complex128", 18, np.complex128, "dcomplex_val"),
    _Kind("float16", 19, np.float16, "half_val"),
    _Kind("uint32", 22, np.uint32, "uint32_val"),
    _Kind("uint64", 23, np.uint64, "uint64_val"),
)
_BITS = (
    _Kind("qint8", 11, np.int8, "int_val"),
    _Kind("quint8", 12, np.uint8, "int_val"),
    _Kind("qint32", 13, np.int32, "int_val"),
    _Kind("qint16", 15, np.int16, "int_val"),
    _Kind("quint16", 16, np.uint16, "int_val"),
    _Kind("float8_e5m2", 24, np.uint8, "float8_val"),
    _Kind("float8_e4m3fn", 25, np.uint8, "float8_val"),
    _Kind("float8_e4m3fnuz", 26, np.uint8, "float8_val"),
    _Kind("float8_e4m3b11fnuz", 27, np.uint8, "float8_val"),
    _Kind("float8_e5m2fnuz", 28, np.uint8, "float8_val"),
    _Kind("int4", 29, np.int8, "int_val"),
    _Kind("uint4", 30, np.uint8, "int_val"),
    _Kind("int2", 31, np.int8, "int_val"),
    _Kind("uint2", 32, np.uint8, "int_val"),
)
"""Dtypes that NumPy does not have and that are only read; `numpy` is the dtype of their bits, one element per value."""

_VARIANT = 21
_LENGTH_DELIMITED = 2
"""Wire type of a packed field (protobuf's encoding)."""

_BY_NAME = {kind.name: kind for kind in _KINDS}
_BY_NUMBER = {kind.number: kind for kind in _KINDS}
_READABLE = {kind.number: kind for kind in (*_KINDS, *_BITS)}
_READ_ONLY = frozenset(("variant", *(kind.name for kind in _BITS)))


def dtype_name(number: int) -> str:
    """Return the dtype name of a value of enum tensorflow.DataType: `float32` for DT_FLOAT, `string` for DT_STRING.

    Raises:
        TensorError: NumPy cannot hold the type (quantized, resource, variant, 8-bit float, …).
    """
    return _kind(number, _BY_NUMBER).name


def dtype_number(name: str) -> int:
    """Return the value of enum tensorflow.DataType for a dtype name.

    Raises:
        TensorError: there is no such dtype.
    """
    if name not in _BY_NAME:
        raise TensorError(f"A tensor cannot have the dtype {name!r}.", fix=f"use one of: {', '.join(_BY_NAME)}")
    return _BY_NAME[name].number


def _kind(number: int, kinds: Mapping[int, _Kind]) -> _Kind:
    if number not in kinds:
        known = enum("tensorflow.DataType").values_by_number
        name = known[number].name if number in known else f"number {number}"
        raise TensorError(f"Tensors of type {name} are not supported.", fix=f"use one of: {', '.join(_BY_NAME)}")
    return kinds[number]


def array_dtype_name(array: Array) -> str:
    """Return the dtype name of an array: `string` for str, bytes and object arrays, `bfloat16` for both of its forms."""
    if isinstance(array, BFloat16Bits):
        return "bfloat16"
    if array.dtype.names and array.dtype.names[0] in _READ_ONLY:
        return str(array.dtype.names[0])
    return "string" if array.dtype.kind in "USO" else str(array.dtype.name)


def to_proto(value: npt.ArrayLike, *, content: bool = True, string_content: bool = False) -> Any:
    """Return an array as a `tensorflow.TensorProto` message; arguments and errors are those of `fill_proto`."""
    proto = message("tensorflow.TensorProto")()
    fill_proto(proto, value, content=content, string_content=string_content)
    return proto


def fill_proto(proto: Any, value: npt.ArrayLike, *, content: bool = True, string_content: bool = False) -> None:
    """Write an array to an empty `tensorflow.TensorProto` message, for example one within another message.

    Args:
        proto: the message.
        value: the array, or nested lists.
        content: write numbers as `tensor_content`, which is faster; if False, as `*_val`, the way a model server answers.
        string_content: write strings as `tensor_content` too, which few readers besides TensorFlow support.

    Raises:
        TensorError: tensors do not have the dtype, or an object is neither str nor bytes.
    """
    array = as_array(value)
    kind = _BY_NUMBER[dtype_number(array_dtype_name(array))]
    proto.dtype = kind.number
    proto.tensor_shape.SetInParent()  # also for a scalar, whose shape has no dims
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if kind.name == "string":
        strings = _as_bytes(array)
        if string_content:
            proto.tensor_content = _join_strings(strings)
        else:
            proto.string_val.extend(strings)
    elif content:
        proto.tensor_content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    else:
        _write_values(proto, kind, array)


def as_array(value: npt.ArrayLike) -> Array:
    """Return a value as an array. Text and bytes become objects, since NumPy's own string dtypes drop trailing zero bytes."""
    if isinstance(value, np.ndarray):
        return value
    array = np.asarray(value)
    return np.asarray(value, np.object_) if array.dtype.kind in "US" else array


def _as_bytes(array: Array) -> list[bytes]:
    values = array.ravel().tolist()
    for value in values:
        if not isinstance(value, str | bytes):
            kind = type(value).__name__
            raise TensorError(f"A string tensor cannot hold {value!r} ({kind}).", fix="give str or bytes")
    return [value.encode() if isinstance(value, str) else value for value in values]


_CHUNK = 65_536
"""Elements that are made Python numbers at a time, each of which takes four times its size in an array."""


def _write_values(proto: Any, kind: _Kind, array: Array) -> None:
    """Write numbers to their `*_val` field. A float field is packed little-endian, so the array's bytes are the field's."""
    flat = np.ascontiguousarray(array).ravel()
    if kind.field == "half_val":
        flat = flat.view(np.uint16)
    elif kind.name == "complex64":
        flat = flat.view(np.float32)
    elif kind.name == "complex128":
        flat = flat.view(np.float64)
    flat = np.asarray(flat)
    if flat.size > _CHUNK and flat.dtype.kind in "fb":
        tag = proto.DESCRIPTOR.fields_by_name[kind.field].number << 3 | _LENGTH_DELIMITED
        content = flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8).data
        proto.MergeFromString(b"".join((_as_varint(tag), _as_varint(content.nbytes), content)))
        return
    field = getattr(proto, kind.field)
    for start in range(0, flat.size, _CHUNK):
        field.extend(flat[start : start + _CHUNK].tolist())


def from_proto(proto: Any) -> Array:
    """Return the array of a `tensorflow.TensorProto` message (of any descriptor pool); writable, in C order.

    Raises:
        TensorError: the dtype is not supported, the shape is not fully known, or the content does not have its size.
    """
    if proto.dtype == _VARIANT:
        return _variants(proto)
    kind = _kind(proto.dtype, _READABLE)
    shape = _shape(proto)
    count = math.prod(shape)
    if count and proto.tensor_content:
        flat = _from_content(kind, proto.tensor_content, count)
    else:
        flat = _from_values(kind, getattr(proto, kind.field), count)
    return _as_kind(kind, flat).reshape(shape)


_STRING_BYTES = 48
"""Bytes of an empty bytes object and of the pointer to it, about."""


def decoded_size(proto: Any) -> tuple[int, int]:
    """Return how many elements and about how many bytes the array of a TensorProto message has, without making it.

    Raises:
        TensorError: as `from_proto`.
    """
    count = math.prod(_shape(proto))
    if proto.dtype == _VARIANT:
        return count, count
    kind = _kind(proto.dtype, _READABLE)
    if kind.name != "string":
        return count, count * np.dtype(kind.numpy).itemsize
    present = count if proto.tensor_content else min(count, len(proto.string_val))
    return count, 8 * count + _STRING_BYTES * present + int(proto.ByteSize())


def _shape(proto: Any) -> tuple[int, ...]:
    # `unknown_rank` is ignored: without dims, the tensor is a scalar (TensorShape's IsValid, tensor_shape.cc).
    dims = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in dims):
        raise TensorError(f"The tensor's shape {list(dims)} is not fully known.", fix="give the size of every dim")
    return dims


def _variants(proto: Any) -> Array:
    """Return the dtype and shape of a variant tensor; only TensorFlow can decode its values."""
    shape = _shape(proto)
    if math.prod(shape) and (proto.tensor_content or proto.variant_val):
        raise TensorError("The values of a variant tensor cannot be read.", fix=f"use one of: {', '.join(_BY_NAME)}")
    return np.zeros(shape, [("variant", np.uint8)])


def _from_content(kind: _Kind, content: bytes, count: int) -> Array:
    if kind.name == "string":
        return _object_array(_split_strings(content, count), count)
    dtype = np.dtype(kind.numpy).newbyteorder("<")
    size = count * dtype.itemsize
    if len(content) != size:
        raise TensorError(f"tensor_content has {len(content)} bytes, not {size} ({count} {kind.name}).")
    if kind.name == "bool":
        return _booleans(np.frombuffer(content, np.uint8))
    return np.frombuffer(content, dtype).astype(kind.numpy)


def _booleans(flat: Array) -> Array:
    if flat.max() > 1:
        raise TensorError(f"tensor_content has the byte {flat.max()} for a bool.", fix="use 0 or 1")
    return flat.astype(np.bool_)


def _join_strings(strings: list[bytes]) -> bytes:
    """Return the bytes that `_split_strings` splits (TensorFlow's EncodeStringList)."""
    return b"".join((*(_as_varint(len(string)) for string in strings), *strings))


def _as_varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """Split `count` lengths as varints and the bytes of all strings (TensorFlow's DecodeStringList)."""
    sizes, at = [], 0
    for _ in range(count):
        size, at = _varint(content, at)
        sizes.append(size)
    actual, expected = len(content) - at, sum(sizes)
    if actual != expected:
        raise TensorError(f"tensor_content has {actual} bytes of strings; their lengths add up to {expected}.")
    return [content[start:end] for start, end in pairwise(accumulate(sizes, initial=at))]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the 32-bit varint at a position, and the position after it."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(content):
            break
        value |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return value, at
    raise TensorError("tensor_content of a string tensor ends within the lengths of its strings.")


def _object_array(values: Sequence[Any], count: int) -> Array:
    array = np.empty(count, np.object_)
    array[:] = list(values)
    return array


def _from_values(kind: _Kind, values: Any, count: int) -> Array:
    """Return `count` elements of a `*_val` field: surplus ones are ignored, the last is repeated, none gives zeros."""
    if kind.name == "string":
        strings = list(values[:count]) or [b""]
        return _object_array((strings + strings[-1:] * (count - len(strings)))[:count], count)
    if kind.field == "float8_val":
        values = list(values)  # the field is a bytes object with one byte per element
    parts = 2 if kind.name.startswith("complex") else 1
    present = min(len(values) // parts, count)
    flat: Array = np.array(values[: present * parts], _field_dtype(kind))
    if kind.field == "half_val":
        flat = flat.astype(np.uint16).view(kind.numpy)
    else:
        flat = flat.view(kind.numpy) if parts == 2 else flat.astype(kind.numpy)
    if present == count:
        return flat
    last = flat[-1] if present else kind.numpy(0)
    return np.concatenate([flat, np.full(count - present, last, kind.numpy)])


def _field_dtype(kind: _Kind) -> Any:
    """Return the dtype of the `*_val` field. int_val and half_val are int32, which narrower types wrap as a C++ cast does."""
    if kind.field in ("int_val", "half_val"):
        return np.int32
    if kind.name == "complex64":
        return np.float32
    return np.float64 if kind.name == "complex128" else kind.numpy


def _as_kind(kind: _Kind, flat: Array) -> Array:
    if kind.name == "bfloat16":
        return bfloat16_from_bits(flat)
    if kind.number in _BY_NUMBER:
        return flat
    dtype = _ml_dtype(kind.name)
    return flat.view(np.dtype([(kind.name, kind.numpy)]) if dtype is None else dtype)


def bfloat16_from_bits(bits: Array) -> Array:
    """Return uint16 bits as a bfloat16 array: of ml_dtypes' dtype if that is installed, else a `BFloat16Bits`."""
    bits = np.ascontiguousarray(bits, np.uint16)
    dtype = _ml_dtype("bfloat16")
    return bits.view(BFloat16Bits) if dtype is None else bits.view(dtype)


def bfloat16_from_float32(array: Array) -> Array:
    """Round float32 values to the nearest bfloat16, ties to even; the array has the form of `bfloat16_from_bits`."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    return bfloat16_from_bits(np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype(np.uint16))


def bfloat16_to_float32(array: Array) -> Array:
    """Return the exact float32 values of a bfloat16 array of either form."""
    bits = np.asarray(array).view(np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32)


@cache
def _ml_dtype(name: str) -> Any:
    if find_spec("ml_dtypes") is None:
        return None
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else None
