"""TFLite's metadata as a FlatBuffer: every field is at the schema's offset and is read back."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from bundler.tflite.metadata_schema import TABLES, UNIONS, read, write

EVERYTHING = {
    "name": "net", "description": "é", "version": "3", "author": "a", "license": "l", "min_parser_version": "1.0.0",
    "associated_files": [{"name": "README", "type": 1, "locale": "en"}],
    "subgraph_metadata": [
        {
            "name": "main", "description": "d",
            "input_tensor_metadata": [
                {
                    "name": "x", "dimension_names": ["batch", "h"],
                    "content": {
                        "content_properties": {"ImageProperties": {"color_space": 1, "default_size": {"width": 4, "height": 5}}},
                        "range": {"min": 1, "max": 2},
                    },
                    "process_units": [{"options": {"NormalizationOptions": {"mean": [0.5, 1.0], "std": [2.0]}}}],
                    "stats": {"max": [1.0], "min": [-1.0]},
                }
            ],
            "output_tensor_metadata": [
                {
                    "content": {"content_properties": {"BoundingBoxProperties": {"index": [1, 0], "type": 1}}},
                    "associated_files": [{"name": "labels.txt", "description": "of y", "type": 2}],
                    "process_units": [{"options": {"BertTokenizerOptions": {"vocab_file": [{"name": "v", "type": 5}]}}}],
                },
                {"name": "z", "content": {"content_properties": {"FeatureProperties": {}}}},
            ],
        }
    ],
}  # fmt: skip


def test_written_metadata_is_read_back() -> None:
    assert read(write(EVERYTHING)) == EVERYTHING
    assert read(write({})) == {}


def field(data: bytes, table: int, slot: int) -> int:
    """Return the position of a field by its offset in the vtable, or 0 if it is missing, without using flatbuffers."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot < size else 0
    return table + offset if offset else 0


def follow(data: bytes, position: int) -> int:
    return position + int(struct.unpack_from("<I", data, position)[0])


def text(data: bytes, position: int) -> str:
    start = follow(data, position)
    (length,) = struct.unpack_from("<I", data, start)
    return data[start + 4 : start + 4 + length].decode()


def test_fields_are_at_the_schemas_offsets() -> None:
    """An offset is 4 plus 2 for each preceding field of metadata_schema.fbs; a union counts twice."""
    data = write(EVERYTHING)
    assert data[4:8] == b"M001"
    model = follow(data, 0)
    texts = {slot: text(data, field(data, model, slot)) for slot in (4, 6, 8, 12, 14, 18)}
    assert texts == {4: "net", 6: "é", 8: "3", 12: "a", 14: "l", 18: "1.0.0"}
    graphs = follow(data, field(data, model, 10))
    graph = follow(data, graphs + 4)
    tensor = follow(data, follow(data, field(data, graph, 8)) + 4)
    content = follow(data, field(data, tensor, 10))
    assert data[field(data, content, 4)] == 2  # ImageProperties is the second of its union
    image = follow(data, field(data, content, 6))
    assert data[field(data, image, 4)] == 1
    unit = follow(data, follow(data, field(data, tensor, 12)) + 4)
    assert data[field(data, unit, 4)] == 1
    normalization = follow(data, field(data, unit, 6))
    mean = follow(data, field(data, normalization, 4))
    assert struct.unpack_from("<Iff", data, mean) == (2, 0.5, 1.0)


def test_union_members_are_tables() -> None:
    assert {kind for kinds in UNIONS.values() for kind in kinds} <= set(TABLES)


@pytest.mark.parametrize("change", [{"nmae": "x"}, {"subgraph_metadata": [{"nmae": "x"}]}])
def test_a_field_that_is_not_in_the_schema_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match="nmae"):
        write(change)


@pytest.mark.parametrize("data", [b"", b"\x08\0\0\0XXXX", b"\xff\xff\xff\x7fM001", write(EVERYTHING)[:60]])
def test_damaged_metadata_is_rejected(data: bytes) -> None:
    with pytest.raises(ValueError, match="metadata"):
        read(data)
