"""Runs ONNX's own tools, which work on protobuf (at most 2 GB) and may drop metadata, on a model of any size.

Large weights are detached while the tool runs, since it needs only small constants (axes, shapes). Metadata (the user's
source lines) is restored by output name.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir

from bundler.graph.load import SMALL, external_tensors


def through_proto(model: ir.Model, tool: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """Return the model that `tool` makes of a model.

    Args:
        model: the model, which must not be used afterwards.
        tool: a function from protobuf to protobuf that keeps the names of inputs and outputs.
    """
    metadata = {o.name: dict(node.metadata_props) for node in model.graph for o in node.outputs if o.name}
    folder = next((tensor.base_dir for tensor in external_tensors(model)), "")
    weights = _take_weights(model)
    result = ir.from_proto(tool(ir.to_proto(model)))
    for tensor in external_tensors(result):
        tensor.base_dir = folder
    _give_back(result, weights)
    for node in result.graph:
        for output in node.outputs:
            if output.name in metadata:
                node.metadata_props.update(metadata[output.name])
    return result


def _take_weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Replace large initializers by inputs of the same name, and return their tensors."""
    weights: dict[str, ir.TensorProtocol] = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size <= SMALL or value.is_graph_input():
            continue
        weights[name] = tensor
        value.shape, value.dtype = ir.Shape([int(n) for n in tensor.shape.numpy()]), tensor.dtype
        del model.graph.initializers[name]
        value.const_value = None
        model.graph.inputs.append(value)
    return weights


def _give_back(model: ir.Model, weights: dict[str, ir.TensorProtocol]) -> None:
    inputs = list(model.graph.inputs)
    model.graph.inputs.clear()
    model.graph.inputs.extend(value for value in inputs if value.name not in weights)
    for value in inputs:
        if value.name in weights:
            value.const_value = weights[value.name]
            model.graph.register_initializer(value)
