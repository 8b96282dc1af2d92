"""Reads an ONNX file into the IR that the passes and the engine work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from bundler.errors import ConversionError
from bundler.graph.attributes import check_attributes
from bundler.graph.onnx_signature import load_graph
from bundler.graph.tensors import check_tensors
from bundler.process.causes import cause_of

SMALL = 1024
"""The most elements of a constant that is taken for a shape or a parameter rather than a weight."""

_SEPARATE_CONSTANTS = 4
"""The first IR version in which constants need not be listed as inputs."""


def load(path: Path) -> ir.Model:
    """Return the model in an ONNX file, with its weights left on disk until they are needed.

    Raises:
        ConversionError: the file is missing or is not an ONNX file, or the data of a tensor is missing, too short, or outside
            the model's folder.
    """
    proto = load_graph(path)
    check_tensors(proto, path)
    check_attributes(proto, path)
    try:
        model = from_proto(proto)
    except Exception as exc:  # onnx_ir wraps errors several times, and Python raises many for a field of the wrong type
        raise ConversionError(
            f"{path} cannot be read as an ONNX model: {root_cause(exc)}.",
            fix="check the file with onnx.checker, or export it again: a download may have been cut short",
            code="TFB3004",
        ) from exc
    _check_names(model, path)
    for tensor in external_tensors(model):
        tensor.base_dir = path.parent
    _load_small(model)
    return model


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """Return the IR of a model in memory."""
    return ir.from_proto(proto)


def drop_constant_inputs(model: ir.Model) -> None:
    """Remove constants from the list of inputs, in place; up to IR version 3 they must be listed there (onnx/docs/IR.md)."""
    RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(model.ir_version or 0, _SEPARATE_CONSTANTS)


def root_cause(exc: BaseException) -> str:
    """Return the cause that the exception that was raised first states, or its type if it has no message."""
    seen = {id(exc)}
    while exc.__cause__ is not None and id(exc.__cause__) not in seen:
        exc = exc.__cause__
        seen.add(id(exc))
    text = cause_of(exc) if str(exc).strip() else ""
    return text if text and not isinstance(exc, KeyError) else f"{type(exc).__name__} {text}".strip()


@contextmanager
def conversion_errors(what: str) -> Iterator[None]:
    """Turn the exceptions of ONNX's tools, which have no common base class, into a ConversionError that starts with `what`."""
    try:
        yield
    except ConversionError:
        raise
    except Exception as exc:
        raise ConversionError(
            f"{what}: {root_cause(exc)}.", fix="check the file with onnx.checker, and export it again", code="TFB3003"
        ) from exc


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Yield all tensors whose data is in a file: initializers and attributes, in subgraphs and functions too."""
    for graph in _graphs(model):
        tensors = [value.const_value for value in graph.initializers.values()]
        tensors += [t for node in graph for attribute in _tensor_attributes(node) for t in _tensors(attribute)]
        yield from (tensor for tensor in tensors if isinstance(tensor, ir.ExternalTensor))


def load_external(model: ir.Model, *, initializers: bool) -> None:
    """Read external data into memory, in place.

    Args:
        model: the model.
        initializers: read the initializers of the outermost graph too, and not only attributes and the constants of subgraphs.
    """
    for graph in _graphs(model):
        if initializers or graph is not model.graph:
            for value in graph.initializers.values():
                if isinstance(value.const_value, ir.ExternalTensor):
                    value.const_value = _in_memory(value.const_value)
        for node in graph:
            for attribute in list(_tensor_attributes(node)):
                if any(isinstance(tensor, ir.ExternalTensor) for tensor in _tensors(attribute)):
                    node.attributes.add(_attribute_in_memory(attribute))


def _graphs(model: ir.Model) -> list[ir.Graph]:
    """Return the graphs of the model and of its functions, and all their subgraphs."""
    roots = [model.graph, *(function.graph for function in model.functions.values())]
    return [graph for root in roots for graph in (root, *root.subgraphs())]


def _tensor_attributes(node: ir.Node) -> Iterator[ir.Attr]:
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS) and attribute.value is not None:
            yield attribute


def _tensors(attribute: ir.Attr) -> list[ir.TensorProtocol]:
    return [attribute.value] if attribute.type is ir.AttributeType.TENSOR else list(attribute.value)


def _attribute_in_memory(attribute: ir.Attr) -> ir.Attr:
    tensors = [_in_memory(tensor) for tensor in _tensors(attribute)]
    single = attribute.type is ir.AttributeType.TENSOR
    return ir.AttrTensor(attribute.name, tensors[0]) if single else ir.AttrTensors(attribute.name, tensors)


def _in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(np.array(tensor.numpy()), dtype=tensor.dtype, name=tensor.name)


def _check_names(model: ir.Model, path: Path) -> None:
    """Raise if a name is not UTF-8, in which case protobuf returns it as bytes."""
    for graph in _graphs(model):
        values = [*graph.inputs, *graph.outputs, *(output for node in graph for output in node.outputs)]
        texts = [text for node in graph for text in (node.name, node.op_type, node.domain)]
        names: list[object] = [*texts, *(value.name for value in values)]
        invalid = next((name for name in names if isinstance(name, bytes)), None)
        if invalid is not None:
            raise ConversionError(
                f"{path} has a name that is not valid UTF-8: {invalid[:100]!r}.", fix="export it again", code="TFB3003"
            )


def _load_small(model: ir.Model) -> None:
    """Read small external constants (shapes, axes): ONNX's own tools need their values and do not know the model's folder."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.size <= SMALL:
                value.const_value = _in_memory(tensor)
