"""Writes and reads TFLite's model metadata: plain dicts to a FlatBuffer and back.

The tables are those of tensorflow_lite_support/metadata/metadata_schema.fbs, version 1.2.1, with fields in its order. A table is
a dict by field name, without unset fields; a union is a dict with one key, the name of its table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import encode, number_types, packer
from flatbuffers import table as fb_table

METADATA_NAME = "TFLITE_METADATA"
"""Name of the .tflite file's metadata entry that holds the table."""

IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
"""All readers understand the fields that are written here, except for those of a tokenizer."""
TOKENIZER_PARSER_VERSION = "1.2.1"

UNKNOWN, TENSOR_AXIS_LABELS, VOCABULARY = 0, 2, 5
"""Values of AssociatedFileType; 0 is UNKNOWN in ColorSpaceType, too."""
RGB, GRAYSCALE = 1, 2
"""Values of ColorSpaceType."""

Table = dict[str, Any]

TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "AssociatedFile": (("name", "string"), ("description", "string"), ("type", "byte"), ("locale", "string")),
    "FeatureProperties": (),
    "ImageSize": (("width", "uint"), ("height", "uint")),
    "ImageProperties": (("color_space", "byte"), ("default_size", "ImageSize")),
    "BoundingBoxProperties": (("index", "[uint]"), ("type", "byte"), ("coordinate_type", "byte")),
    "ValueRange": (("min", "int"), ("max", "int")),
    "Content": (("content_properties", "ContentProperties"), ("range", "ValueRange")),
    "NormalizationOptions": (("mean", "[float]"), ("std", "[float]")),
    "ScoreCalibrationOptions": (("score_transformation", "byte"), ("default_score", "float")),
    "ScoreThresholdingOptions": (("global_score_threshold", "float"),),
    "BertTokenizerOptions": (("vocab_file", "[AssociatedFile]"),),
    "SentencePieceTokenizerOptions": (
        ("sentencePiece_model", "[AssociatedFile]"), ("vocab_file", "[AssociatedFile]"),
    ),
    "RegexTokenizerOptions": (("delim_regex_pattern", "string"), ("vocab_file", "[AssociatedFile]")),
    "ProcessUnit": (("options", "ProcessUnitOptions"),),
    "Stats": (("max", "[float]"), ("min", "[float]")),
    "TensorMetadata": (
        ("name", "string"), ("description", "string"), ("dimension_names", "[string]"), ("content", "Content"),
        ("process_units", "[ProcessUnit]"), ("stats", "Stats"), ("associated_files", "[AssociatedFile]"),
    ),
    "SubGraphMetadata": (
        ("name", "string"), ("description", "string"), ("input_tensor_metadata", "[TensorMetadata]"),
        ("output_tensor_metadata", "[TensorMetadata]"), ("associated_files", "[AssociatedFile]"),
        ("input_process_units", "[ProcessUnit]"), ("output_process_units", "[ProcessUnit]"),
    ),
    "ModelMetadata": (
        ("name", "string"), ("description", "string"), ("version", "string"),
        ("subgraph_metadata", "[SubGraphMetadata]"), ("author", "string"), ("license", "string"),
        ("associated_files", "[AssociatedFile]"), ("min_parser_version", "string"),
    ),
}  # fmt: skip

UNIONS = {
    "ContentProperties": ("FeatureProperties", "ImageProperties", "BoundingBoxProperties"),
    "ProcessUnitOptions": (
        "NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions", "BertTokenizerOptions",
        "SentencePieceTokenizerOptions", "RegexTokenizerOptions",
    ),
}  # fmt: skip

_SCALARS: dict[str, Any] = {
    "byte": number_types.Int8Flags,
    "int": number_types.Int32Flags,
    "uint": number_types.Uint32Flags,
    "float": number_types.Float32Flags,
}
_VECTORS = {"[uint]": np.uint32, "[float]": np.float32}


def write(metadata: Mapping[str, Any]) -> bytes:
    """Serialize a ModelMetadata table.

    Raises:
        KeyError: the schema does not have a field.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, "ModelMetadata", metadata), IDENTIFIER)
    return bytes(builder.Output())


def _write_table(builder: Any, kind: str, values: Mapping[str, Any]) -> int:
    """Write a table after its children, because a FlatBuffer is written from its end; return its offset."""
    fields, slots = TABLES[kind], _slots(kind)
    unknown = set(values) - {name for name, _ in fields}
    if unknown:
        raise KeyError(f"{kind} has no field {sorted(unknown)}")
    writers: list[Callable[[], None]] = []
    for name, type_ in fields:
        if name in values:
            writers.append(_field_writer(builder, slots[name], type_, values[name]))
    builder.StartObject(sum(2 if type_ in UNIONS else 1 for _, type_ in fields))
    for write_field in writers:
        write_field()
    return int(builder.EndObject())


def _slots(kind: str) -> dict[str, int]:
    """Return the slot of each field; a union has two slots, for its kind and its table."""
    slots, slot = {}, 0
    for name, type_ in TABLES[kind]:
        slots[name] = slot
        slot += 2 if type_ in UNIONS else 1
    return slots


def _field_writer(builder: Any, slot: int, type_: str, value: Any) -> Callable[[], None]:
    """Write a field's children; return a function that adds the field to the open table."""
    if type_ in _SCALARS:
        return lambda: builder.PrependSlot(_SCALARS[type_], slot, value, 0)
    if type_ in UNIONS:
        ((kind, table),) = value.items()
        number, offset = UNIONS[type_].index(kind) + 1, _write_table(builder, kind, table)

        def write_union() -> None:
            builder.PrependUint8Slot(slot, number, 0)
            builder.PrependUOffsetTRelativeSlot(slot + 1, offset, 0)

        return write_union
    child = _child(builder, type_, value)
    return lambda: builder.PrependUOffsetTRelativeSlot(slot, child, 0)


def _child(builder: Any, type_: str, value: Any) -> int:
    if type_ == "string":
        return int(builder.CreateString(value))
    if type_ in _VECTORS:
        return int(builder.CreateNumpyVector(np.asarray(value, _VECTORS[type_])))
    if type_.startswith("["):
        offsets = [_child(builder, type_[1:-1], item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    return _write_table(builder, type_, value)


def read(data: bytes) -> Table:
    """Read a ModelMetadata table that `write` or another tool wrote.

    Raises:
        ValueError: the data is not a ModelMetadata table.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError("metadata without the identifier M001")
    try:
        root = encode.Get(packer.uoffset, data, 0)
        return _read_table(fb_table.Table(data, root), "ModelMetadata")
    except (struct.error, IndexError, TypeError, OverflowError, ValueError) as exc:
        raise ValueError(f"damaged metadata ({exc})") from exc


def _read_table(table: Any, kind: str) -> Table:
    values: Table = {}
    slots = _slots(kind)
    for name, type_ in TABLES[kind]:
        offset = table.Offset(4 + 2 * slots[name])
        if offset:
            value = _read_field(table, offset, type_, slots[name])
            if value is not None:
                values[name] = value
    return values


def _read_field(table: Any, offset: int, type_: str, slot: int) -> Any:
    position = table.Pos + offset
    if type_ in _SCALARS:
        return table.Get(_SCALARS[type_], position)
    if type_ in UNIONS:
        number, inner = table.Get(number_types.Uint8Flags, position), table.Offset(4 + 2 * (slot + 1))
        if not inner or not 1 <= number <= len(UNIONS[type_]):
            return None  # a kind of a newer schema
        kind = UNIONS[type_][number - 1]
        return {kind: _read_table(fb_table.Table(table.Bytes, table.Indirect(table.Pos + inner)), kind)}
    return _read_child(table, position, type_)


def _read_child(table: Any, position: int, type_: str) -> Any:
    if type_ == "string":
        return bytes(table.String(position)).decode("utf-8")
    if type_.startswith("["):
        return _read_vector(table, position, type_)
    return _read_table(fb_table.Table(table.Bytes, table.Indirect(position)), type_)


def _read_vector(table: Any, position: int, type_: str) -> Sequence[Any]:
    begin = table.Indirect(position)
    length, first = table.Get(number_types.UOffsetTFlags, begin), begin + 4
    if type_ in _VECTORS:
        return list(np.frombuffer(table.Bytes, _VECTORS[type_], length, first).tolist())
    return [_read_child(table, first + 4 * index, type_[1:-1]) for index in range(length)]
