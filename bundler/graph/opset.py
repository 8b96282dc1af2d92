"""Raising a model to one opset with ONNX's own version converter.

Weights stay out of the way: the converter copies the whole model through protobuf, which ends at 2 GB, and it needs only
small constants (axes, shapes). Metadata that it drops (names of source lines) is put back by output name.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx import version_converter

from bundler.errors import ConversionError

OPSET = 21
"""Handlers are written against this opset and newer ones; older models are raised to it."""

OLDEST = 7
_SMALL = 1024


def raise_opset(model: ir.Model) -> ir.Model:
    """A model of at least OPSET; one that is newer stays as it is.

    Raises:
        ConversionError: the model names no opset, one older than 7, or the version converter fails.
    """
    opset = model.opset_imports.get("")
    if opset is None:
        if any(node.domain == "" for node in model.graph):
            raise ConversionError("The ONNX model does not say which opset it uses.", fix="export it again")
        return model
    if opset >= OPSET:
        return model
    if opset < OLDEST:
        raise ConversionError(
            f"The ONNX model has opset {opset}; {OLDEST} is the oldest one supported.", fix="export it again"
        )
    return _convert(model, opset)


def _convert(model: ir.Model, opset: int) -> ir.Model:
    metadata = {o.name: dict(node.metadata_props) for node in model.graph for o in node.outputs if o.name}
    weights = _take_weights(model)
    proto = ir.to_proto(model)
    try:
        raised = ir.from_proto(version_converter.convert_version(proto, OPSET))
    except RuntimeError as exc:
        raise ConversionError(
            f"The model of opset {opset} cannot be raised to opset {OPSET}: {str(exc).strip().splitlines()[0]}",
            fix=f"export it with --opset {OPSET}",
        ) from exc
    _give_back(raised, weights)
    for node in raised.graph:
        for output in node.outputs:
            if output.name in metadata:
                node.metadata_props.update(metadata[output.name])
    return raised


def _take_weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Replace large initializers by inputs of the same name."""
    taken: dict[str, ir.TensorProtocol] = {}
    inputs = {v.name for v in model.graph.inputs}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size <= _SMALL or name in inputs:
            continue
        taken[name] = tensor
        value.shape, value.dtype = ir.Shape([int(n) for n in tensor.shape.numpy()]), tensor.dtype
        del model.graph.initializers[name]
        value.const_value = None
        model.graph.inputs.append(value)
    return taken


def _give_back(model: ir.Model, weights: dict[str, ir.TensorProtocol]) -> None:
    for value in [v for v in model.graph.inputs if v.name in weights]:
        model.graph.inputs.remove(value)
        value.const_value = weights[value.name or ""]
        model.graph.register_initializer(value)
