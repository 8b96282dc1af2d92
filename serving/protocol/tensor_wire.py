"""Tensors of a serialized message: outputs of an answer and inputs of a request, without a message object in between.

A message would hold a second copy of all values. Bytes in a form that `serving.protocol.wire` does not read (fields that are
not packed, map entries whose parts come twice) go through protobuf's own parser, which decides what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.errors import ProtocolError, TensorError
from serving.protocol.messages import message, serving_message
from serving.protocol.tensors import (
    CONTENT_FIELD,
    FIELD_NUMBERS,
    MAX_RANK,
    STRING_BYTES,
    Array,
    array_dtype_name,
    content_bytes,
    from_proto,
    packed_values,
    proto_without_values,
    read_tensor,
    to_proto,
)
from serving.protocol.wire import (
    BYTES,
    VARINT,
    Field,
    UnusualError,
    field_head,
    fields,
    joined,
    repeated_bytes,
    signed,
)

MAX_MESSAGE_BYTES = 2**31 - 1
"""Most bytes of a protobuf message."""

_GROWTH = 32
"""Bytes of memory that protobuf's own parser may need per byte of a message with many tiny parts."""

_OUTPUTS, _INPUTS = 1, 2
"""Number of the map in PredictResponse and in PredictRequest."""

_KEY, _VALUE = 1, 2
_DTYPE, _SHAPE, _VERSION = 1, 2, 3
_DIM, _SIZE = 2, 1
_STRING = 7
"""DT_STRING."""

_STRINGS = FIELD_NUMBERS["string_val"]
_NUMBERS = {number for number in FIELD_NUMBERS.values() if number != _STRINGS}
_LIMIT = "more than the limit"


def read_outputs(data: bytes, max_bytes: int) -> dict[str, Array]:
    """Return the outputs of a serialized PredictResponse by name; see `serving.protocol.tensors.from_proto`.

    Args:
        data: the message.
        max_bytes: most bytes that all arrays together may have.

    Raises:
        ProtocolError: the data are not a PredictResponse, an output is not a valid tensor, or the arrays have more bytes.
    """
    outputs: dict[str, Array] = {}
    for name, tensor in _output_tensors(data, max_bytes).items():
        try:
            outputs[name] = array = _read(tensor, max_bytes)
        except (TensorError, DecodeError) as exc:
            what = exc.what if isinstance(exc, TensorError) else f"{exc}."
            raise ProtocolError(f"The output {name!r} cannot be read: {what}", fix=_fix(what)) from exc
        max_bytes -= array.size * (STRING_BYTES if array.dtype == np.object_ else array.itemsize)
    return outputs


def _fix(what: str) -> str:
    if _LIMIT in what:
        return "if the answer may need so much memory, raise the client's max_response_bytes"
    return "check that the target is a model server"


def _output_tensors(data: bytes, max_bytes: int) -> Mapping[str, Any]:
    """Return the outputs as serialized TensorProtos, or as messages if the bytes are unusual."""
    try:
        return dict(_entries(memoryview(data), _OUTPUTS))
    except (UnusualError, UnicodeDecodeError):
        pass
    try:
        return dict(parse_message(serving_message("PredictResponse"), data, max_bytes).outputs.items())
    except (DecodeError, TensorError) as exc:
        what = str(exc).rstrip(".")
        raise ProtocolError(f"The answer is not a PredictResponse: {what}.", fix=_fix(what)) from exc


def _entries(data: memoryview, number: int) -> Iterator[tuple[str, memoryview]]:
    """Yield key and value of each entry of a `map<string, message>` field."""
    for entry in fields(data):
        if entry.number != number:
            continue
        if entry.wire_type != BYTES:
            raise UnusualError
        parts = list(fields(entry.value))
        if [(part.number, part.wire_type) for part in parts] != [(_KEY, BYTES), (_VALUE, BYTES)]:
            raise UnusualError
        yield str(parts[0].value, "utf-8"), parts[1].value


def parse_message(kind: Any, data: bytes, max_bytes: int) -> Any:
    """Parse a message with protobuf's own parser, unless it could need more memory than allowed.

    Raises:
        DecodeError: the data are not such a message.
        TensorError: the data are too long.
    """
    if len(data) * _GROWTH > max_bytes:
        raise TensorError(
            f"It has {len(data)} bytes in a form that may need {_LIMIT} of {max_bytes} bytes.", code="TFB7008"
        )
    return kind.FromString(data)


def _read(tensor: Any, max_bytes: int) -> Array:
    if isinstance(tensor, memoryview):
        try:
            return read_tensor(_Serialized(tensor), max_bytes)
        except UnusualError:
            tensor = parse_message(message("tensorflow.TensorProto"), bytes(tensor), max_bytes)
    return from_proto(tensor, max_bytes)


class _Serialized:
    """A serialized TensorProto, as a source of `serving.protocol.tensors.read_tensor`.

    Raises:
        UnusualError: the bytes are damaged, or unusual.
    """

    def __init__(self, data: memoryview) -> None:
        self.dtype = 0
        self.content: memoryview = memoryview(b"")
        self.has_variants = False
        self._shape: memoryview | None = None
        self._values: dict[int, list[memoryview]] = {}
        self._strings: memoryview | None = None
        self._has_skipped_strings = False
        self._scan(data)

    def _scan(self, data: memoryview) -> None:
        for field in fields(data):
            if field.number == _STRINGS and self.dtype == _STRING and self._shape is not None and not self.content:
                self._strings = data[field.start :]
                break
            self._add(field)

    def _add(self, field: Field) -> None:
        if field.wire_type != (VARINT if field.number in (_DTYPE, _VERSION) else BYTES):
            raise UnusualError  # a repeated field that is not packed, or an unknown field
        if field.number == _DTYPE:
            self.dtype = field.value
        elif field.number == _SHAPE and self._shape is None:
            self._shape = field.value
        elif field.number == CONTENT_FIELD:
            self.content = field.value
        elif field.number == _STRINGS:
            self._has_skipped_strings = True
        elif field.number in _NUMBERS:
            self._values.setdefault(field.number, []).append(field.value)
        elif field.number != _VERSION:
            raise UnusualError

    def dims(self) -> Sequence[int]:
        """See `Source.dims`."""
        sizes: list[int] = []
        for dim in fields(self._shape) if self._shape is not None else ():
            if dim.number == _DIM:
                if dim.wire_type != BYTES:
                    raise UnusualError
                sizes.append(_size(dim.value))
            if len(sizes) > MAX_RANK:
                break
        return sizes

    def strings(self, limit: int) -> Sequence[bytes]:
        """See `Source.strings`."""
        if self._has_skipped_strings:
            raise UnusualError
        return [] if self._strings is None else repeated_bytes(bytes(self._strings), _STRINGS, limit)

    def numbers(self, kind: Any, limit: int) -> Array:
        """See `Source.numbers`."""
        pieces = self._values.get(FIELD_NUMBERS[kind.field], [])
        if not pieces:
            return np.empty(0, kind.numpy)
        if kind.field == "float8_val":
            return np.array(np.frombuffer(bytes(pieces[-1][:limit]), kind.numpy))
        return packed_values(kind, joined(pieces), limit)


def _size(dim: memoryview) -> int:
    size = 0
    for part in fields(dim):
        if part.number == _SIZE:
            if part.wire_type != VARINT:
                raise UnusualError
            size = signed(part.value)
    return size


def predict_request(head: bytes, inputs: Mapping[str, Array]) -> bytes:
    """Return a serialized PredictRequest.

    Args:
        head: the serialized message without its inputs.
        inputs: arrays by input name.

    Raises:
        TensorError: an array cannot become a tensor, or the message has more than `MAX_MESSAGE_BYTES`.
    """
    pieces: list[bytes | memoryview] = [head]
    for name, array in inputs.items():
        try:
            tensor = _tensor_pieces(array)
        except TensorError as exc:
            exc.what = f"The input {name!r} cannot be sent: {exc.what}"
            raise
        key = name.encode()
        value_head = field_head(_VALUE, sum(map(len, tensor)))
        entry = [field_head(_KEY, len(key)), key, value_head, *tensor]
        pieces += [field_head(_INPUTS, sum(map(len, entry))), *entry]
    size = sum(map(len, pieces))
    if size > MAX_MESSAGE_BYTES:
        raise TensorError(
            f"The request has {size} bytes; a message has at most {MAX_MESSAGE_BYTES}.",
            fix="send fewer rows",
            code="TFB7008",
        )
    return b"".join(pieces)


def _tensor_pieces(array: Array) -> list[bytes | memoryview]:
    """Return a serialized TensorProto in pieces, of which the array's own memory is one."""
    if array_dtype_name(array) == "string" or not array.size:
        return [to_proto(array).SerializeToString()]
    content = content_bytes(array)
    return [proto_without_values(array).SerializeToString(), field_head(CONTENT_FIELD, len(content)), content]
