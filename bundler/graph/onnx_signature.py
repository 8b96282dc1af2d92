"""The signature that an ONNX file states: names, order, dtypes, and which dims are dynamic."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from bundler.errors import ConversionError
from bundler.values.signature import DTYPES, Dim, Signature, TensorSpec


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without the weights that lie in files beside it.

    Raises:
        ConversionError: there is no such file, or it is not ONNX.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as exc:
        raise ConversionError(
            f"The ONNX file {path} cannot be read: {exc.strerror or exc}.", fix="give the path of an .onnx file"
        ) from exc
    except (DecodeError, ValueError, RecursionError) as exc:  # ValueError: text that is no UTF-8
        what = f"{path} is not an ONNX file, or is truncated: {str(exc).splitlines()[0] if str(exc) else exc!r}."
        fix = "unpack it first: gunzip" if _is_gzip(path) else "export it again; a download may have been cut short"
        raise ConversionError(what, fix=fix) from exc
    if not model.graph.node and not model.graph.output:
        raise ConversionError(f"{path} holds no ONNX graph.", fix="export it again")
    return model


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operator set that the model asks for (1 where it states none)."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def signature_of(model: onnx.ModelProto) -> Signature:
    """The graph's inputs, but for those that have an initializer, and its outputs.

    Raises:
        ConversionError: an input or output is not a tensor of a dtype that a signature can hold.
    """
    given = {init.name for init in model.graph.initializer}
    given |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    return Signature(
        tuple(_spec(value) for value in model.graph.input if value.name not in given),
        tuple(_spec(value) for value in model.graph.output),
    )


def graph_signature(graph: ir.Graph) -> Signature:
    """The same of a graph in memory.

    Raises:
        ConversionError: an input or output is not a tensor of a dtype that a signature can hold.
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
            f"{value.name!r} is a {str(kind).removesuffix('_type')}; a signature holds tensors only.",
            fix="give the model tensors as inputs and outputs (skl2onnx does with options={'zipmap': False})",
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
        raise ConversionError(f"{name!r} has the dtype {dtype}, which a signature cannot hold.")
    return dtype


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value") and dim.dim_value >= 0:  # some exporters write -1 for a dynamic size
        return dim.dim_value
    return dim.dim_param or None
