"""Convert NumPy arrays to TensorProto messages and back, by the rules of TensorFlow's tensor.cc.

When a message is read, `tensor_content` takes precedence over the `*_val` fields. Too few `*_val` repeat the last one, none
gives zeros (empty strings, False), and surplus ones are ignored. DT_STRING becomes an object array of bytes.

NumPy has no bfloat16. DT_BFLOAT16 becomes an array of ml_dtypes' dtype if that package is installed, else a `BFloat16Bits`:
the bits as uint16, in their own class so that they are not mistaken for numbers.

Quantized types, 8-bit floats and integers of 4 and 2 bits are read but not written, because a server's error has to name the
dtype that it was given. They become arrays of ml_dtypes' dtype, or else of a structured dtype whose field has the dtype's
name, which is how TensorFlow's Python API represents quantized types.

Many `*_val` elements are never converted to Python's objects: they are read from and written to the message's serialized bytes
(`serving.protocol.wire`). `serving.protocol.tensor_wire` reads and writes tensors without a message.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import TensorError
from serving.protocol.messages import enum, message
from serving.protocol.wire import Array as Array
from serving.protocol.wire import UnusualError, as_varint, field_head, fields, joined, read_varints, write_varints


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

CONTENT_FIELD = 4
"""Number of `tensor_content`."""

FIELD_NUMBERS = {
    "float_val": 5, "double_val": 6, "int_val": 7, "string_val": 8, "scomplex_val": 9, "int64_val": 10, "bool_val": 11,
    "dcomplex_val": 12, "half_val": 13, "uint32_val": 16, "uint64_val": 17, "float8_val": 18,
}  # fmt: skip
"""Numbers of the `*_val` fields (tensorflow/core/framework/tensor.proto)."""

_FIXED_WIDTH = ("float_val", "double_val", "scomplex_val", "dcomplex_val")
"""Fields whose packed form is the array itself, in little-endian order; the other packed fields hold varints."""

_FEW = 64
"""Up to so many values, a list of Python's objects is faster than the serialized bytes."""

STRING_BYTES = 48
"""Memory of one string in an array besides its characters: the reference, and what Python adds to every bytes object."""

MAX_RANK = 254
"""Most dims of a tensor (TensorShape's MaxDimensions); NumPy's own limit is lower."""

_VARIANT = 21
_VARIANT_KIND = _Kind("variant", _VARIANT, np.uint8, "variant_val")
"""Only TensorFlow can decode the values of variants; an array shows their dtype and shape."""

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


def has_dtype(name: str) -> bool:
    """Return whether requests and answers can hold arrays of a dtype (framework/tensor.proto, framework/types.proto)."""
    return name in _BY_NAME


def dtype_number(name: str) -> int:
    """Return the value of enum tensorflow.DataType for a dtype name.

    Raises:
        TensorError: there is no such dtype.
    """
    if name not in _BY_NAME:
        raise TensorError(
            f"A tensor cannot have the dtype {name!r}.", fix=f"use one of: {', '.join(_BY_NAME)}", code="TFB7102"
        )
    return _BY_NAME[name].number


def _kind(number: int, kinds: Mapping[int, _Kind]) -> _Kind:
    if number not in kinds:
        known = enum("tensorflow.DataType").values_by_number
        name = known[number].name if number in known else f"number {number}"
        raise TensorError(
            f"Tensors of type {name} are not supported.", fix=f"use one of: {', '.join(_BY_NAME)}", code="TFB7102"
        )
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
    fill_shape(proto, array)
    kind = _BY_NUMBER[proto.dtype]
    if kind.name == "string":
        strings = _as_bytes(array)
        if string_content:
            proto.tensor_content = _join_strings(strings)
        else:
            proto.string_val.extend(strings)
    elif content:
        proto.tensor_content = content_bytes(array).tobytes()
    else:
        pieces = list(_value_pieces(kind, array))
        head = field_head(FIELD_NUMBERS[kind.field], sum(map(len, pieces)))
        proto.MergeFromString(b"".join((head, *pieces)))


def proto_without_values(array: Array) -> Any:
    """Return a TensorProto message with dtype and shape of an array.

    Raises:
        TensorError: tensors do not have the dtype.
    """
    proto = message("tensorflow.TensorProto")()
    fill_shape(proto, array)
    return proto


def fill_shape(proto: Any, array: Array) -> None:
    """Write dtype and shape of an array to an empty `tensorflow.TensorProto` message.

    Raises:
        TensorError: tensors do not have the dtype.
    """
    proto.dtype = dtype_number(array_dtype_name(array))
    proto.tensor_shape.SetInParent()  # also for a scalar, whose shape has no dims
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)


def content_bytes(array: Array) -> memoryview:
    """Return an array of numbers as `tensor_content` holds them: little-endian, in C order; not copied if it is like that."""
    plain = np.asarray(array)
    return np.ascontiguousarray(plain, plain.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _value_pieces(kind: _Kind, array: Array) -> Iterable[bytes | memoryview]:
    """Return the content of the packed `*_val` field."""
    if kind.field in _FIXED_WIDTH:
        return (content_bytes(array),)
    flat = np.ascontiguousarray(array).reshape(-1)
    return write_varints(flat.view(np.uint16) if kind.field == "half_val" else flat)


def as_array(value: npt.ArrayLike) -> Array:
    """Return a value as an array. Text and bytes become objects, since NumPy's own string dtypes drop trailing zero bytes.

    Raises:
        TensorError: the value is a list of lists of unequal lengths, or NumPy cannot read it for another reason.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        array = np.asarray(value)
        return np.asarray(value, np.object_) if array.dtype.kind in "US" else array
    except (ValueError, TypeError, OverflowError) as exc:
        fix = "give numbers, or nested lists of equal lengths"
        raise TensorError(f"{reprlib.repr(value)} is not an array: {exc}.", fix=fix, code="TFB7101") from exc


def _as_bytes(array: Array) -> list[bytes]:
    return [value if isinstance(value, bytes) else string_bytes(value) for value in array.ravel().tolist()]


def string_bytes(value: object) -> bytes:
    """Return an element of a string tensor as bytes.

    Raises:
        TensorError: it is neither bytes nor a str that UTF-8 can hold.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        kind = type(value).__name__
        raise TensorError(
            f"A string tensor cannot hold {reprlib.repr(value)} ({kind}).", fix="give str or bytes", code="TFB7101"
        )
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        fix = "give bytes, e.g. text.encode('utf-8', 'surrogateescape')"
        raise TensorError(
            f"The text {reprlib.repr(value)} cannot be written as UTF-8: {exc.reason}.", fix=fix, code="TFB7101"
        ) from exc


class Source(Protocol):
    """A TensorProto that `read_tensor` reads: a message or its serialized bytes.

    Attributes:
        dtype: value of enum tensorflow.DataType.
        content: `tensor_content`.
        has_variants: whether `variant_val` has an element.
    """

    @property
    def dtype(self) -> int: ...  # noqa: D102

    @property
    def content(self) -> bytes | memoryview: ...  # noqa: D102

    @property
    def has_variants(self) -> bool: ...  # noqa: D102

    def dims(self) -> Sequence[int]:
        """Return the sizes in `tensor_shape`; at most `MAX_RANK` + 1 of them."""

    def strings(self, limit: int) -> Sequence[bytes]:
        """Return the elements of `string_val`, at most `limit`."""

    def numbers(self, kind: _Kind, limit: int) -> Array:
        """Return the elements of the kind's `*_val` field, at most `limit`; writable, of the kind's NumPy dtype."""


class _Message:
    """A TensorProto message, of any descriptor pool."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self.dtype = proto.dtype
        self.content: bytes = proto.tensor_content
        self.has_variants = bool(proto.variant_val)

    def dims(self) -> Sequence[int]:
        return [dim.size for dim in self._proto.tensor_shape.dim[: MAX_RANK + 1]]

    def strings(self, limit: int) -> Sequence[bytes]:
        return list(self._proto.string_val[:limit])

    def numbers(self, kind: _Kind, limit: int) -> Array:
        values = getattr(self._proto, kind.field)
        if kind.field == "float8_val":
            return np.array(np.frombuffer(values[:limit], kind.numpy)) if values else np.empty(0, kind.numpy)
        parts = 2 if kind.name.startswith("complex") else 1
        if len(values) > _FEW:
            number = FIELD_NUMBERS[kind.field]
            try:
                packed = [f.value for f in fields(memoryview(self._proto.SerializeToString())) if f.number == number]
                return packed_values(kind, joined(packed), limit)
            except UnusualError:
                pass  # the message also has many strings
        stored: Array = np.array(values[: min(len(values) // parts, limit) * parts], _field_dtype(kind))
        if kind.field == "half_val":
            return stored.astype(np.uint16).view(kind.numpy)
        return stored.view(kind.numpy) if parts == 2 else stored.astype(kind.numpy)


def packed_values(kind: _Kind, data: memoryview, limit: int) -> Array:
    """Return at most `limit` elements of a packed `*_val` field of numbers, writable.

    Raises:
        UnusualError: the data are damaged.
    """
    if kind.field in _FIXED_WIDTH:
        dtype = np.dtype(kind.numpy).newbyteorder("<")
        if len(data) % (4 if kind.field in ("float_val", "scomplex_val") else 8):
            raise UnusualError
        size = min(len(data) // dtype.itemsize, limit) * dtype.itemsize
        return np.frombuffer(data[:size], dtype).astype(kind.numpy) if size else np.empty(0, kind.numpy)
    stored = read_varints(data, np.uint16 if kind.field == "half_val" else kind.numpy, limit)
    return stored.view(kind.numpy)


def from_proto(proto: Any, max_bytes: int | None = None) -> Array:
    """Return the array of a `tensorflow.TensorProto` message (of any descriptor pool); writable, in C order.

    A few bytes can describe a huge tensor, because the last value is repeated: see `element_count`.

    Args:
        proto: the message.
        max_bytes: most bytes that the array may have; None for no limit. A string counts as `STRING_BYTES`.

    Raises:
        TensorError: the dtype is not supported, the shape is not fully known, the content does not have its size, or the
            array would have more than `max_bytes`.
    """
    return read_tensor(_Message(proto), max_bytes)


def element_count(proto: Any) -> int:
    """Return the number of elements that `from_proto` makes of a TensorProto message, from its shape alone.

    Raises:
        TensorError: the shape is not fully known, or has more than `MAX_RANK` dims.
    """
    return math.prod(_shape(_Message(proto)))


def decoded_size(proto: Any) -> tuple[int, int]:
    """Return how many elements and about how many bytes the array of a TensorProto message has, without making it.

    Raises:
        TensorError: as `from_proto`.
    """
    count = element_count(proto)
    if proto.dtype == _VARIANT:
        return count, count
    kind = _kind(proto.dtype, _READABLE)
    if kind.name != "string":
        return count, count * np.dtype(kind.numpy).itemsize
    present = count if proto.tensor_content else min(count, len(proto.string_val))
    return count, 8 * count + STRING_BYTES * present + int(proto.ByteSize())


def read_tensor(source: Source, max_bytes: int | None = None) -> Array:
    """Return the array of a tensor; see `from_proto`.

    Args:
        source: the tensor.
        max_bytes: most bytes that the array may have, as in `from_proto`.

    Raises:
        TensorError: as in `from_proto`.
        UnusualError: the serialized bytes are damaged.
    """
    kind = _VARIANT_KIND if source.dtype == _VARIANT else _kind(source.dtype, _READABLE)
    shape = _shape(source)
    count = math.prod(shape)
    needed = count * (STRING_BYTES if kind.name == "string" else np.dtype(kind.numpy).itemsize)
    if max_bytes is not None and needed > max_bytes:
        raise TensorError(
            f"The tensor of shape {list(shape)} has {needed} bytes, more than the limit of {max_bytes}.", code="TFB7008"
        )
    try:
        return _as_kind(kind, _flat(kind, source, count)).reshape(shape)
    except (ValueError, OverflowError, MemoryError) as exc:
        raise TensorError(
            f"No array can have the shape {list(shape)} with {kind.name} elements: {exc}.", code="TFB7104"
        ) from exc


def _flat(kind: _Kind, source: Source, count: int) -> Array:
    if kind is _VARIANT_KIND:
        if count and (source.content or source.has_variants):
            raise TensorError(
                "The values of a variant tensor cannot be read.",
                fix=f"use one of: {', '.join(_BY_NAME)}",
                code="TFB7104",
            )
        return np.zeros(count, np.uint8)
    if count and source.content:
        return _from_content(kind, source.content, count)
    if kind.name == "string":
        return _completed(kind, _object_array(source.strings(count)), count)
    return _completed(kind, source.numbers(kind, count), count)


def _completed(kind: _Kind, values: Array, count: int) -> Array:
    """Return `count` elements: the last value is repeated, none gives zeros."""
    present = values.size
    if present == count:
        return values
    flat = np.empty(count, kind.numpy)
    flat[:present] = values
    none = b"" if kind.name == "string" else kind.numpy(0)
    flat[present:] = values[-1] if present else none
    return flat


def _shape(source: Source) -> tuple[int, ...]:
    # `unknown_rank` is ignored: without dims, the tensor is a scalar (TensorShape's IsValid, tensor_shape.cc).
    dims = tuple(source.dims())
    if len(dims) > MAX_RANK:
        raise TensorError(f"The tensor has more than {MAX_RANK} dims.", fix="use fewer dims", code="TFB7104")
    if any(size < 0 for size in dims):
        raise TensorError(
            f"The tensor's shape {list(dims)} is not fully known.", fix="give the size of every dim", code="TFB7104"
        )
    return dims


def _from_content(kind: _Kind, content: bytes | memoryview, count: int) -> Array:
    if kind.name == "string":
        return _object_array(_split_strings(content, count))
    dtype = np.dtype(kind.numpy).newbyteorder("<")
    size = count * dtype.itemsize
    if len(content) != size:
        raise TensorError(f"tensor_content has {len(content)} bytes, not {size} ({count} {kind.name}).", code="TFB7104")
    if kind.name == "bool":
        return _booleans(np.frombuffer(content, np.uint8))
    return np.frombuffer(content, dtype).astype(kind.numpy)


def _booleans(flat: Array) -> Array:
    if flat.max() > 1:
        raise TensorError(f"tensor_content has the byte {flat.max()} for a bool.", fix="use 0 or 1", code="TFB7104")
    return flat.astype(np.bool_)


def _join_strings(strings: list[bytes]) -> bytes:
    """Return the bytes that `_split_strings` splits (TensorFlow's EncodeStringList)."""
    return b"".join((*(as_varint(len(string)) for string in strings), *strings))


def _split_strings(content: bytes | memoryview, count: int) -> list[bytes]:
    """Split `count` lengths as varints and the bytes of all strings (TensorFlow's DecodeStringList)."""
    sizes, at = [], 0
    for _ in range(count):
        size, at = _varint(content, at)
        sizes.append(size)
    actual, expected = len(content) - at, sum(sizes)
    if actual != expected:
        raise TensorError(
            f"tensor_content has {actual} bytes of strings; their lengths add up to {expected}.", code="TFB7104"
        )
    return [bytes(content[start:end]) for start, end in pairwise(accumulate(sizes, initial=at))]


def _varint(content: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the 32-bit varint at a position, and the position after it."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(content):
            break
        value |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return value, at
    raise TensorError("tensor_content of a string tensor ends within the lengths of its strings.", code="TFB7104")


def _object_array(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


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
    if kind is _VARIANT_KIND:
        return flat.view([("variant", np.uint8)])
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
