"""Writes .tflite files from object trees, and adds metadata entries: named bytes that runtimes ignore and tools read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from bundler.errors import TfliteError
from bundler.tflite.contents import names_of
from serving.protocol.tflite_file import IDENTIFIER

_ALIGNMENT = 16
"""Alignment of the weights in bytes (schema.fbs: `data:[ubyte] (force_align: 16)`); kernels read them in place."""


def add_metadata(content: bytes, entries: Mapping[str, bytes]) -> bytes:
    """Add metadata entries to a .tflite file, replacing entries of the same name.

    Raises:
        TfliteError: the weights are stored outside of the buffers, as in files over 2 GiB.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if any(buffer.offset for buffer in model.buffers):
        raise TfliteError("The TFLite file is over 2 GiB: metadata cannot be added to it.", code="TFB4502")
    metadata = [entry for entry in model.metadata or [] if text(entry.name) not in entries]
    for name, data in entries.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(data, np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(model.buffers) - 1
        metadata.append(entry)
    model.metadata = metadata
    return packed(model, size=len(content) + 1024)


def packed(model: Any, *, size: int = 1024) -> bytes:
    """Serialize a model as a .tflite file with aligned weights.

    Args:
        model: a `schema_py_generated.ModelT`.
        size: approximate size of the file in bytes.
    """
    builder = _Builder(size)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Applies the alignment that the schema requires and FlatBuffers' Python code omits."""

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        return super().StartVector(size, count, max(alignment, _ALIGNMENT if size == 1 else 1))


def builtin_name(tree: Any, operator: Any) -> str:
    """Return the name of an operator of an object tree; `CUSTOM` if it is not a builtin."""
    code = tree.operatorCodes[operator.opcodeIndex]
    # Codes above 127 are in the newer field, and the older field holds a placeholder.
    return names_of("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]


def text(value: bytes | str | None) -> str:
    """Return a name of an object tree as a string."""
    return value.decode() if isinstance(value, bytes) else value or ""
