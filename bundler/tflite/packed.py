"""Packs metadata and associated files into a .tflite file, and reads them.

The associated files form a zip archive at the end of the file: `unzip -l model.tflite` lists them. The archive is not compressed,
because readers on devices map the file into memory. All entries have the same date, so that equal exports have equal bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from bundler.tflite import metadata_schema
from bundler.tflite.flatbuffer import add_metadata
from serving.protocol.tflite_file import read_metadata

_DATE = (1980, 1, 1, 0, 0, 0)


def pack(content: bytes, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Add metadata and associated files to a .tflite file.

    Args:
        content: the file.
        metadata: a ModelMetadata table (see `metadata_schema`).
        files: contents of the associated files, by name.

    Raises:
        TfliteError: metadata cannot be added to the file.
    """
    model = add_metadata(content, {metadata_schema.METADATA_NAME: metadata_schema.write(metadata)})
    if not files:
        return model
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)
    return stream.getvalue()


def unpack(content: bytes) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """Return the ModelMetadata table of a .tflite file (None if it has none) and its associated files.

    Raises:
        ValueError: the content is not a .tflite file, or its metadata is damaged.
    """
    entry = read_metadata(content).get(metadata_schema.METADATA_NAME)
    metadata = metadata_schema.read(entry) if entry else None
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        return metadata, {}
    with zipfile.ZipFile(stream) as archive:
        return metadata, {name: archive.read(name) for name in archive.namelist()}
