"""Reads the signature of an ONNX file: names, order, dtypes and dims of its inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from bundler.errors import ConversionError
from bundler.process.causes import cause_of
from bundler.values.signature import DTYPES, Dim, Signature, TensorSpec


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without its external data.

    Raises:
        ConversionError: the file cannot be read, or is not an ONNX file.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as exc:
        raise ConversionError(
            f"The ONNX file {path} cannot be read: {exc.strerror or exc}.",
            fix="give the path of an existing .onnx file",
            code="TFB2002",
        ) from exc
    except (DecodeError, ValueError, RecursionError) as exc:  # ValueError: text that is not valid UTF-8
        what = f"{path} is not an ONNX file, or is truncated: {cause_of(exc) if str(exc) else repr(exc)}."
        fix = "unpack it first: gunzip" if _is_gzip(path) else "export it again: a download may have been cut short"
        raise ConversionError(what, fix=fix, code="TFB3004") from exc
    if not model.graph.node and not model.graph.output:
        raise ConversionError(f"{path} contains no ONNX graph.", fix="export it again", code="TFB3004")
    return model


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operator set that the model imports, or 1 if it imports none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def signature_of(model: onnx.ModelProto) -> Signature:
    """Return the signature of a model: its inputs, except those that have an initializer, and its outputs.

    Raises:
        ConversionError: an input or output is not a tensor of a dtype that a signature supports.
    """
    constants = {init.name for init in model.graph.initializer}
    constants |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    return Signature(
        tuple(_spec(value) for value in model.graph.input if value.name not in constants),
        tuple(_spec(value) for value in model.graph.output),
    )


def graph_signature(graph: ir.Graph) -> Signature:
    """Return the signature of a graph in memory: its inputs, except those that are constants, and its outputs.

    Raises:
        ConversionError: an input or output is not a tensor of a dtype that a signature supports.
    """
    inputs = [v for v in graph.inputs if v.const_value is None]
    return Signature(
        tuple(_spec(ir.serde.serialize_value(v)) for v in inputs),
        tuple(_spec(ir.serde.serialize_value(v)) for v in graph.outputs),
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ConversionError(
            f"{value.name!r} is a {str(kind).removesuffix('_type')}; a signature supports tensors only.",
            fix="use only tensors as inputs and outputs (with skl2onnx: options={'zipmap': False})",
            code="TFB2007",
        )
    tensor = value.type.tensor_type
    dtype = _dtype(value.name, tensor.elem_type)
    return TensorSpec(value.name, dtype, tuple(_dim(d) for d in tensor.shape.dim))


def _dtype(name: str, element: int) -> str:
    if element == TensorProto.STRING:
        return "string"
    known = element in TensorProto.DataType.values() and element
    dtype = helper.tensor_dtype_to_np_dtype(element).name if known else "undefined"
    if dtype not in DTYPES:
        raise ConversionError(f"{name!r} has the dtype {dtype}, which a signature does not support.", code="TFB2007")
    return dtype


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value") and dim.dim_value >= 0:  # some exporters write -1 for a dynamic size
        return dim.dim_value
    return dim.dim_param or None
