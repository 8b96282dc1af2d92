"""The metadata of a model.tflite that TensorFlow Serving reads, and the SignatureDefs in it.

The metadata entry `signature_defs_metadata` holds the SignatureDefs: a FlexBuffer map from the signature's name to the
serialized message (tensorflow/lite/tools/signature/signature_def_util.cc). For a file without it, the real server makes one
signature from the tensors' names (servables/tensorflow/tflite_session.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from serving.protocol.messages import message

MODEL_FILE = "model.tflite"
"""Name of the file in a version's folder (servables/tensorflow/saved_model_bundle_factory.cc)."""

SIGNATURE_DEFS = "signature_defs_metadata"
IDENTIFIER = b"TFL3"

BROKEN = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError)
"""Errors of FlatBuffers' Python readers for malformed bytes."""


def parse_model(content: bytes) -> Any:
    """Return the FlatBuffer table `tflite.Model` of a .tflite file. Damage in the file shows only when its fields are read.

    Args:
        content: the bytes of the file.

    Raises:
        ValueError: the bytes are not a .tflite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != IDENTIFIER:
        raise ValueError("the file does not have the identifier TFL3")
    try:
        return schema.Model.GetRootAs(content, 0)
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
        entries = [model.Metadata(index) for index in range(model.MetadataLength())]
        return {entry.Name().decode(): _buffer(model, entry.Buffer()) for entry in entries}
    except BROKEN as exc:
        raise ValueError(f"the file is damaged ({exc})") from exc


def _buffer(model: Any, index: int) -> bytes:
    buffer = model.Buffers(index)
    return buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""


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
