"""Checks that every tensor of an ONNX file has the data that its shape and type require.

Nothing outside of the model's folder is read (onnx/docs/ExternalData.md), and a shape larger than its data is rejected before
anything of that size is allocated.
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
"""Data type -> the field that holds the numbers (onnx.proto, TensorProto); int32_data for all other types."""

_EXPORT_AGAIN = "export the model again: a copy may have been cut short"


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of the model: initializers and attributes, in branches, bodies and functions too."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)
        for attribute in function.attribute_proto:
            yield from _tensors_of_attribute(attribute)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _tensors_of_attribute(attribute)


def _tensors_of_attribute(attribute: onnx.AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    if attribute.HasField("g"):
        yield from _tensors_of_graph(attribute.g)
    for graph in attribute.graphs:
        yield from _tensors_of_graph(graph)


def check_tensors(model: ModelProto, path: Path) -> None:
    """Raise if the data of a tensor is too short, too long, missing, or outside of the model's folder.

    Args:
        model: the model, as read from the file.
        path: the file; external data must be in its folder.

    Raises:
        ConversionError: the message names the tensor, the size that its shape requires, and the size of its data.
    """
    folder = path.parent.resolve()
    for tensor in all_tensors(model):
        size = _required_bytes(tensor, path)
        if tensor.data_location == TensorProto.EXTERNAL:
            _check_external(tensor, size, path, folder)
        else:
            _check_embedded(tensor, path)


def _quoted_name(tensor: TensorProto) -> str:
    return f"{tensor.name[:100] or 'without a name'!r}"


def _elements(tensor: TensorProto, path: Path) -> int:
    if any(n < 0 for n in tensor.dims):
        raise ConversionError(
            f"The tensor {_quoted_name(tensor)} of {path} has the shape {list(tensor.dims)[:16]}; a size cannot be negative.",
            fix=_EXPORT_AGAIN,
            code="TFB3003",
        )
    return math.prod(tensor.dims)


def _required_bytes(tensor: TensorProto, path: Path) -> int:
    """Return the size in bytes that shape and type require; for a string tensor, the number of strings."""
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype is ir.DataType.UNDEFINED:
        raise ConversionError(
            f"The tensor {_quoted_name(tensor)} of {path} has the data type {tensor.data_type}, which ONNX does not define.",
            fix="export the model again",
            code="TFB3003",
        )
    elements = _elements(tensor, path)
    return elements if dtype is ir.DataType.STRING else math.ceil(elements * dtype.bitwidth / 8)


def _check_embedded(tensor: TensorProto, path: Path) -> None:
    dtype, elements = ir.DataType(tensor.data_type), math.prod(tensor.dims)
    if tensor.HasField("raw_data") and dtype is not ir.DataType.STRING:
        required, actual, unit = _required_bytes(tensor, path), len(tensor.raw_data), "bytes"
    else:
        field = _FIELDS.get(tensor.data_type, "int32_data")
        complex_ = dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)
        packed = math.ceil(elements * dtype.bitwidth / 8) if dtype is not ir.DataType.STRING and dtype.bitwidth < 8 else elements
        required, actual, unit = packed * (2 if complex_ else 1), len(getattr(tensor, field)), f"items of {field}"
    if required != actual:
        raise ConversionError(
            f"The tensor {_quoted_name(tensor)} of {path} has the type {dtype.name} and the shape {list(tensor.dims)[:16]}, "
            f"which takes {required} {unit}; the file has {actual}.",
            fix=_EXPORT_AGAIN,
            code="TFB3003",
        )


def _check_external(tensor: TensorProto, size: int, path: Path, folder: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = _data_file(tensor, location, path, folder)
    offset, length = (_number(tensor, entries.get(key), key, path) for key in ("offset", "length"))
    if tensor.data_type == TensorProto.STRING:
        raise ConversionError(
            f"The tensor {_quoted_name(tensor)} of {path} has strings in {location!r}; ONNX allows them in the model only.",
            fix="export the model again",
            code="TFB3003",
        )
    if length is not None and length != size:
        raise ConversionError(
            f"The weight {_quoted_name(tensor)} of {path} has the shape {list(tensor.dims)[:16]}, which takes {size} bytes; the "
            f"model states a length of {length} bytes in {location!r}.",
            fix=_EXPORT_AGAIN,
            code="TFB3005",
        )
    if file.stat().st_size < (offset or 0) + size:
        raise ConversionError(
            f"The data file {location!r} of {path} is too short for the weight {_quoted_name(tensor)}.",
            fix=_EXPORT_AGAIN,
            code="TFB3005",
        )


def _data_file(tensor: TensorProto, location: str, path: Path, folder: Path) -> Path:
    """Return the path of an external data file. Raise if it must not be read: a model can name any file."""
    try:
        file = (folder / location).resolve()
        outside = Path(location).is_absolute() or not file.is_relative_to(folder)
        exists = not outside and file.is_file()
    except (ValueError, OSError, RuntimeError):  # a zero byte, a name that is too long, links in a circle
        outside, exists = False, False
    if outside:
        raise ConversionError(
            f"The weight {_quoted_name(tensor)} of {path} refers to {location!r}, outside of the model's folder.",
            fix="export the model again with its data in the same folder; no other file is read",
            code="TFB3005",
        )
    if not exists:
        raise ConversionError(
            f"The weight {_quoted_name(tensor)} of {path} is in {location[:200]!r}, which is missing.",
            fix=f"put the data file into {folder}",
            code="TFB3005",
        )
    if file.stat().st_nlink > 1:
        raise ConversionError(
            f"The data file {location!r} of {path} is a hard link, which may point to a file outside of the model's folder.",
            fix="replace it with a copy: cp --reflink=auto FILE COPY && mv COPY FILE",
            code="TFB3005",
        )
    return file


def _number(tensor: TensorProto, text: str | None, key: str, path: Path) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ConversionError(
            f"The data {key} of the weight {_quoted_name(tensor)} of {path} is {text[:40]!r}, which is not a number of bytes.",
            fix="export the model again",
            code="TFB3005",
        )
    return int(text)


def drop_pages(tensor: ir.TensorProtocol | None) -> None:
    """Return the memory of a weight that was read from its file to the system, which reads the file again when needed.

    The pages of a mapped file count as memory of the process from the first time they are read.
    """
    if not isinstance(tensor, ir.ExternalTensor) or tensor.raw is None:
        return
    start = -(-(tensor.offset or 0) // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (tensor.offset or 0) + tensor.nbytes - start
    if length >= mmap.PAGESIZE and hasattr(mmap, "MADV_DONTNEED"):
        tensor.raw.madvise(mmap.MADV_DONTNEED, start, length)
