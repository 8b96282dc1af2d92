"""Sending a model through one of ONNX's own tools, which work on protobuf: 2 GB at most, and some drop metadata.

Large weights stay behind meanwhile; the tools need only small constants (axes, shapes). Metadata (the user's source lines)
is put back by output name.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir

_SMALL = 1024
"""Elements up to which a constant goes along."""


def through_proto(model: ir.Model, tool: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """What `tool` makes of the model."""
    metadata = {o.name: dict(node.metadata_props) for node in model.graph for o in node.outputs if o.name}
    weights = _take_weights(model)
    result = ir.from_proto(tool(ir.to_proto(model)))
    _give_back(result, weights)
    for node in result.graph:
        for output in node.outputs:
            if output.name in metadata:
                node.metadata_props.update(metadata[output.name])
    return result


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
