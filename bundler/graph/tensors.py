"""The tensors that an ONNX file holds: whether each has the data that its shape and type ask for, and where they lie.

Nothing is read outside of the model's folder (onnx/docs/ExternalData.md), and a shape that its data do not fill is refused
before anything is made of that size.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from bundler.errors import ConversionError

_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data", TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data", TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data", TensorProto.UINT32: "uint64_data", TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}  # fmt: skip
"""The field of numbers by type (onnx.proto, TensorProto); int32_data for all others."""

_AGAIN = "export the model again; a copy may have been cut short"


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model: initializers and attributes, in branches, bodies and functions too."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: onnx.AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    if attribute.HasField("g"):
        yield from _of_graph(attribute.g)
    for graph in attribute.graphs:
        yield from _of_graph(graph)


def check_tensors(model: ModelProto, path: Path) -> None:
    """Refuse tensors whose data are too few, too many, missing, or not beside the model.

    Raises:
        ConversionError: names the tensor, what it says of itself, and what is there.
    """
    folder = path.parent.resolve()
    for tensor in all_tensors(model):
        size = _bytes(tensor, path)
        if tensor.data_location == TensorProto.EXTERNAL:
            _check_external(tensor, size, path, folder)
        else:
            _check_own(tensor, path)


def _shown(tensor: TensorProto) -> str:
    return f"{tensor.name[:100] or 'without a name'!r}"


def _elements(tensor: TensorProto, path: Path) -> int:
    if any(n < 0 for n in tensor.dims):
        raise ConversionError(
            f"The tensor {_shown(tensor)} of {path} has the shape {list(tensor.dims)[:16]}; no size is negative.", fix=_AGAIN
        )
    return math.prod(tensor.dims)


def _bytes(tensor: TensorProto, path: Path) -> int:
    """Bytes of its data by its shape and type; of a string tensor the number of strings."""
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype is ir.DataType.UNDEFINED:
        raise ConversionError(
            f"The tensor {_shown(tensor)} of {path} has the data type {tensor.data_type}, which ONNX does not have.",
            fix="export the model again",
        )
    elements = _elements(tensor, path)
    return elements if dtype is ir.DataType.STRING else math.ceil(elements * dtype.bitwidth / 8)


def _check_own(tensor: TensorProto, path: Path) -> None:
    dtype, elements = ir.DataType(tensor.data_type), math.prod(tensor.dims)
    if tensor.HasField("raw_data") and dtype is not ir.DataType.STRING:
        wanted, found, unit = _bytes(tensor, path), len(tensor.raw_data), "bytes"
    else:
        field = _FIELDS.get(tensor.data_type, "int32_data")
        complex_ = dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)
        packed = math.ceil(elements * dtype.bitwidth / 8) if dtype is not ir.DataType.STRING and dtype.bitwidth < 8 else elements
        wanted, found, unit = packed * (2 if complex_ else 1), len(getattr(tensor, field)), f"items of {field}"
    if wanted != found:
        raise ConversionError(
            f"The tensor {_shown(tensor)} of {path} is {dtype.name} of the shape {list(tensor.dims)[:16]}, which takes "
            f"{wanted} {unit}; the file has {found}.",
            fix=_AGAIN,
        )


def _check_external(tensor: TensorProto, size: int, path: Path, folder: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = _inside(tensor, location, path, folder)
    offset, length = (_number(tensor, entries.get(key), key, path) for key in ("offset", "length"))
    if tensor.data_type == TensorProto.STRING:
        raise ConversionError(
            f"The tensor {_shown(tensor)} of {path} holds strings in {location!r}; ONNX keeps strings in the model itself.",
            fix="export the model again",
        )
    if length is not None and length != size:
        raise ConversionError(
            f"The weight {_shown(tensor)} of {path} takes {size} bytes by its shape {list(tensor.dims)[:16]}; "
            f"{length} are said to be in {location!r}.",
            fix=_AGAIN,
        )
    if file.stat().st_size < (offset or 0) + size:
        raise ConversionError(
            f"The data file {location!r} of {path} is too short for the weight {_shown(tensor)}.", fix=_AGAIN
        )


def _inside(tensor: TensorProto, location: str, path: Path, folder: Path) -> Path:
    """The data file, if it is one that may be read."""
    try:
        file = (folder / location).resolve()
        outside = Path(location).is_absolute() or not file.is_relative_to(folder)
        there = not outside and file.is_file()
    except (ValueError, OSError, RuntimeError):  # a zero byte, a name that is too long, links in a circle
        outside, there = False, False
    if outside:
        raise ConversionError(
            f"The weight {_shown(tensor)} of {path} is said to be in {location!r}, outside of the model's folder.",
            fix="such a file is refused; export the model again with its data beside it",
        )
    if not there:
        raise ConversionError(
            f"The weight {_shown(tensor)} of {path} is in {location[:200]!r}, which is missing.",
            fix=f"put the data file into {folder}",
        )
    if file.stat().st_nlink > 1:
        raise ConversionError(
            f"The data file {location!r} of {path} is a hard link, which can stand for a file outside of the model's folder.",
            fix="put a copy in its place: cp --reflink=auto FILE COPY && mv COPY FILE",
        )
    return file


def _number(tensor: TensorProto, text: str | None, key: str, path: Path) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ConversionError(
            f"The {key} of the data of {_shown(tensor)} of {path} is {text[:40]!r}, which is no number of bytes.",
            fix="export the model again",
        )
    return int(text)


def drop_pages(tensor: ir.TensorProtocol | None) -> None:
    """Give the memory of a weight that was read from its file back to the system, which reads it again where it is asked.

    The pages of a mapped file count as the process's memory from their first reading on.
    """
    if not isinstance(tensor, ir.ExternalTensor) or tensor.raw is None:
        return
    start = -(-(tensor.offset or 0) // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (tensor.offset or 0) + tensor.nbytes - start
    if length >= mmap.PAGESIZE and hasattr(mmap, "MADV_DONTNEED"):
        tensor.raw.madvise(mmap.MADV_DONTNEED, start, length)
