"""What TensorFlow Serving reads of a model.tflite besides the graph: its metadata and, in it, the SignatureDefs.

The SignatureDefs stand in the metadata entry `signature_defs_metadata`, a FlexBuffer map from the signature's name to the
serialized message (tensorflow/lite/tools/signature/signature_def_util.cc). Without it the real server makes up one
signature from the tensors' names (servables/tensorflow/tflite_session.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from serving.protocol.messages import message

MODEL_FILE = "model.tflite"
"""Its name in a version's folder (servables/tensorflow/saved_model_bundle_factory.cc)."""

SIGNATURE_DEFS = "signature_defs_metadata"
IDENTIFIER = b"TFL3"

_BROKEN = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError)
"""What FlatBuffers' Python readers raise for bytes that are none."""


def read_metadata(content: bytes) -> dict[str, bytes]:
    """The metadata entries of a .tflite file by name.

    Raises:
        ValueError: it is not a .tflite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != IDENTIFIER:
        raise ValueError("the file does not have the identifier TFL3")
    try:
        model = schema.Model.GetRootAs(content, 0)
        entries = [model.Metadata(index) for index in range(model.MetadataLength())]
        return {entry.Name().decode(): _buffer(model, entry.Buffer()) for entry in entries}
    except _BROKEN as exc:
        raise ValueError(f"the file is damaged ({exc})") from exc


def _buffer(model: Any, index: int) -> bytes:
    buffer = model.Buffers(index)
    return buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""


def pack_signatures(signatures: Mapping[str, Any]) -> bytes:
    """SignatureDef messages by name as the content of the metadata entry.

    Raises:
        ValueError: a message has a zero byte (a dim of size 0, a shape that is set and has no dims): the real server's
            reader stops there.
    """
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for name, signature in sorted(signatures.items()):
            data = signature.SerializeToString(deterministic=True)
            if 0 in data:
                raise ValueError(f"the signature {name} has a dim of size 0 or a shape without dims")
            builder.Key(name)
            # `String` takes UTF-8 alone; in C++ a string is any bytes.
            builder._WriteBlob(data, append_zero=True, type_=flexbuffers.Type.STRING)
    return bytes(builder.Finish())


def unpack_signatures(entry: bytes) -> dict[str, Any]:
    """What `pack_signatures` wrote.

    Raises:
        ValueError: it is not that.
    """
    from flatbuffers import flexbuffers
    from google.protobuf.message import DecodeError

    try:
        found = flexbuffers.GetRoot(bytearray(entry)).AsMap
        texts = {key.AsKey: value.AsStringBytes for key, value in zip(found.Keys, found.Values, strict=True)}
        kind = message("tensorflow.SignatureDef")
        return {name: kind.FromString(bytes(data).split(b"\0")[0]) for name, data in texts.items()}
    except (*_BROKEN, DecodeError) as exc:
        raise ValueError(f"Cannot parse signature def found in flatbuffer. ({exc})") from exc
