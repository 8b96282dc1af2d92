"""The metadata of a model.tflite that TensorFlow Serving reads, and the SignatureDefs in it.

The metadata entry `signature_defs_metadata` holds the SignatureDefs: a FlexBuffer map from the signature's name to the
serialized message (tensorflow/lite/tools/signature/signature_def_util.cc). For a file without it, the real server makes one
signature from the tensors' names (servables/tensorflow/tflite_session.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from serving.protocol.messages import message

MODEL_FILE = "model.tflite"
"""Name of the file in a version's folder (servables/tensorflow/saved_model_bundle_factory.cc)."""

SIGNATURE_DEFS = "signature_defs_metadata"
IDENTIFIER = b"TFL3"

BROKEN = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError)
"""Errors of FlatBuffers' Python readers for malformed bytes."""


class FlatTable:
    """A table of a FlatBuffer. Damage in the file shows only when a field is read, as one of the errors in `BROKEN`.

    Fields are numbered in the order of tensorflow/compiler/mlir/lite/schema/schema.fbs. The package of LiteRT has a class for
    each table of that schema, but it is too large for those who only want to know what a file does.

    Args:
        content: the bytes of the file.
        position: where the table begins.
    """

    def __init__(self, content: bytes, position: int) -> None:
        from flatbuffers.table import Table

        self._content = content
        self._table = Table(content, position)

    def _offset(self, field: int) -> int:
        return int(self._table.Offset(4 + 2 * field))

    def tables(self, field: int) -> Iterator[FlatTable]:
        """Yield the tables of a vector; none if the field is not set."""
        offset = self._offset(field)
        if offset:
            start = self._table.Vector(offset)
            for index in range(self._table.VectorLen(offset)):
                yield FlatTable(self._content, self._table.Indirect(start + 4 * index))

    def string(self, field: int) -> bytes | None:
        """Return a string, or None if the field is not set."""
        offset = self._offset(field)
        return bytes(self._table.String(offset + self._table.Pos)) if offset else None

    def octets(self, field: int) -> bytes:
        """Return a vector of bytes; empty if the field is not set."""
        from flatbuffers.number_types import Uint8Flags

        offset = self._offset(field)
        if not offset or not self._table.VectorLen(offset):
            return b""
        return bytes(self._table.GetVectorAsNumpy(Uint8Flags, offset).tobytes())

    def number(self, field: int) -> int:
        """Return an unsigned integer of 32 bits, or its default 0."""
        from flatbuffers.number_types import Uint32Flags

        offset = self._offset(field)
        return int(self._table.Get(Uint32Flags, offset + self._table.Pos)) if offset else 0


OPERATOR_CODES, SUBGRAPHS, BUFFERS, METADATA = 1, 2, 4, 6
"""Fields of the root table, `tflite.Model`."""

CUSTOM_CODE = 1
"""Field of `OperatorCode`."""

OPERATORS = 3
"""Field of `SubGraph`."""

OPCODE_INDEX, CUSTOM_OPTIONS = 0, 5
"""Fields of `Operator`."""

_BUFFER_DATA = 0
_METADATA_NAME, _METADATA_BUFFER = 0, 1


def parse_model(content: bytes) -> FlatTable:
    """Return the root table of a .tflite file. Damage in the file shows only when its fields are read.

    Args:
        content: the bytes of the file.

    Raises:
        ValueError: the bytes are not a .tflite file.
    """
    if content[4:8] != IDENTIFIER:
        raise ValueError("the file does not have the identifier TFL3")
    try:
        return FlatTable(content, *struct.unpack_from("<I", content))
    except BROKEN as exc:
        raise ValueError(f"the file is damaged ({exc})") from exc


def read_metadata(content: bytes) -> dict[str, bytes]:
    """Return the metadata entries of a .tflite file by name.

    Args:
        content: the bytes of the file.

    Raises:
        ValueError: the bytes are not a .tflite file.
    """
    model = parse_model(content)
    try:
        buffers = list(model.tables(BUFFERS))
        return {
            (entry.string(_METADATA_NAME) or b"").decode(): buffers[entry.number(_METADATA_BUFFER)].octets(_BUFFER_DATA)
            for entry in model.tables(METADATA)
        }
    except BROKEN as exc:
        raise ValueError(f"the file is damaged ({exc})") from exc


def pack_signatures(signatures: Mapping[str, Any]) -> bytes:
    """Return the content of the metadata entry for SignatureDef messages by name.

    Raises:
        ValueError: a serialized message has a zero byte (a dim of size 0, or a shape that is set but has no dims), at which
            the real server's reader stops.
    """
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for name, signature in sorted(signatures.items()):
            data = signature.SerializeToString(deterministic=True)
            if 0 in data:
                raise ValueError(f"the signature {name} has a dim of size 0 or a shape without dims")
            builder.Key(name)
            # `String` accepts only UTF-8, whereas a C++ string can hold any bytes.
            builder._WriteBlob(data, append_zero=True, type_=flexbuffers.Type.STRING)
    return bytes(builder.Finish())


def unpack_signatures(entry: bytes) -> dict[str, Any]:
    """Return the SignatureDef messages by name that `pack_signatures` packed.

    Raises:
        ValueError: the entry has another form.
    """
    from flatbuffers import flexbuffers
    from google.protobuf.message import DecodeError

    try:
        entries = flexbuffers.GetRoot(bytearray(entry)).AsMap
        serialized = {key.AsKey: value.AsStringBytes for key, value in zip(entries.Keys, entries.Values, strict=True)}
        kind = message("tensorflow.SignatureDef")
        return {name: kind.FromString(bytes(data).split(b"\0")[0]) for name, data in serialized.items()}
    except (*BROKEN, DecodeError) as exc:
        raise ValueError(f"Cannot parse signature def found in flatbuffer. ({exc})") from exc
