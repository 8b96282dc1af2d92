"""Writes .tflite files: an object tree as bytes, and metadata, named bytes that runtimes carry along and tools read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from bundler.errors import TfliteError
from serving.protocol.tflite_file import IDENTIFIER

_ALIGNMENT = 16
"""Of the weights (schema.fbs: `data:[ubyte] (force_align: 16)`), which kernels read where they lie."""


def add_metadata(content: bytes, entries: Mapping[str, bytes]) -> bytes:
    """A .tflite file with metadata entries; one that is there under the same name is replaced.

    Raises:
        TfliteError: its weights lie outside of its buffers, as in files over 2 GiB.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if any(buffer.offset for buffer in model.buffers):
        raise TfliteError("The TFLite file is over 2 GiB: metadata cannot be added to it.")
    kept = [entry for entry in model.metadata or [] if _text(entry.name) not in entries]
    for name, data in entries.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(data, np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(model.buffers) - 1
        kept.append(entry)
    model.metadata = kept
    return packed(model, size=len(content) + 1024)


def packed(model: Any, *, size: int = 1024) -> bytes:
    """A `schema_py_generated.ModelT` as a .tflite file, its weights aligned as kernels want them.

    Args:
        size: about how many bytes it will have.
    """
    builder = _Builder(size)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Keeps the alignment that the schema asks for and FlatBuffers' Python code leaves out."""

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        return super().StartVector(size, count, max(alignment, _ALIGNMENT if size == 1 else 1))


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
