"""Reads the operators, weights by type, and metadata of a .tflite file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.errors import VerifyError
from bundler.tflite import contents
from bundler.tflite.packed import unpack
from serving.protocol.tflite_file import SIGNATURE_DEFS, read_metadata, unpack_signatures

RUNTIME = "min_runtime_version"
"""The converter's metadata entry for the oldest runtime that has all operators."""


@dataclass(frozen=True)
class TfliteContents:
    """The parts of a .tflite file.

    Attributes:
        ops: counts of the operators of all subgraphs, by name.
        weights: size of the constants in bytes, by type.
        runtime: the oldest TFLite version that runs the file, according to the converter.
        serving: names of the signatures that TensorFlow Serving reads from the file.
        metadata: the ModelMetadata table (see `bundler.tflite.metadata_schema`), or None.
        files: sizes of the associated files in bytes, by name.
    """

    ops: dict[str, int]
    weights: dict[str, int]
    runtime: str | None
    serving: tuple[str, ...]
    metadata: dict[str, Any] | None
    files: dict[str, int]


def read_contents(path: Path) -> TfliteContents:
    """Read a .tflite file without running it.

    Raises:
        VerifyError: it is not a .tflite file, or its metadata is damaged.
    """
    content = path.read_bytes()
    try:
        entries = read_metadata(content)
        metadata, files = unpack(content)
        serving = tuple(unpack_signatures(entries[SIGNATURE_DEFS])) if SIGNATURE_DEFS in entries else ()
    except ValueError as exc:
        raise VerifyError(f"{path} cannot be read: {exc}.", code="TFB5106") from exc
    return TfliteContents(
        contents.count(contents.operators_of(content)),
        _weights(content),
        entries[RUNTIME].rstrip(b"\0").decode("ascii", "replace") if RUNTIME in entries else None,
        serving,
        metadata,
        {name: len(data) for name, data in files.items()},
    )


def _weights(content: bytes) -> dict[str, int]:
    """Return the size of the tensors' buffers in bytes, by type, the largest first."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    types = contents.names_of("TensorType")
    seen: set[int] = set()
    sizes: Counter[str] = Counter()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            if tensor.Buffer() in seen:
                continue
            seen.add(tensor.Buffer())
            buffer = model.Buffers(tensor.Buffer())
            size = buffer.Size() if buffer.Offset() > 1 else buffer.DataLength()
            if size:
                sizes[types[tensor.Type()].lower()] += size
    return dict(sizes.most_common())


def describe_metadata(metadata: dict[str, Any]) -> list[str]:
    """Return the metadata as lines of text."""
    lines = [f"{metadata.get('name', 'no name')}: {metadata.get('description', 'no description')}"]
    for graph in metadata.get("subgraph_metadata", ()):
        for side, key in (("in ", "input_tensor_metadata"), ("out", "output_tensor_metadata")):
            lines += [f"  {side} {_tensor(tensor)}" for tensor in graph.get(key, ())]
    return lines


def _tensor(tensor: dict[str, Any]) -> str:
    parts = [f"{tensor.get('name', '?')}: {tensor.get('description', '')}".rstrip(": ")]
    if names := tensor.get("dimension_names"):
        parts.append(f"dims {', '.join(names)}")
    for unit in tensor.get("process_units", ()):
        for kind, options in unit.get("options", {}).items():
            figures = ", ".join(f"{key} {_figures(value)}" for key, value in options.items())
            parts.append(f"{kind}: {figures}")
    parts += [f"labels {file.get('name', '?')}" for file in tensor.get("associated_files", ())]
    return "; ".join(parts)


def _figures(value: Any) -> str:
    return ", ".join(f"{number:.6g}" for number in value) if isinstance(value, list) else f"{value:g}"
