"""Expands operators without a handler into the graph of simpler operators by which ONNX defines them.

ONNX's own inliner (onnx.inliner) does the same, but fails where an optional input is omitted.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from bundler.graph.infer import infer_shapes
from bundler.graph.walk import all_graphs

_DOMAIN = "tfbundle.expanded"

EXPANDED = frozenset(
    {
        ("", "CausalConvWithState"),
        ("", "CenterCropPad"),
        ("", "LinearAttention"),
        ("", "SwiGLU"),
        ("ai.onnx.preview", "FlexAttention"),
    }
)
"""(domain, operator). Operators that TensorFlow can express well have handlers instead."""


def inline(model: ir.Model) -> None:
    """Replace the calls of the model's functions by their nodes, in place.

    A call may leave out optional outputs, and name optional inputs as omitted that the function does not have.
    """
    for graph in all_graphs(model):
        for node in graph:
            function = model.functions.get(node.op_identifier())
            if function is None:
                continue
            if not any(node.inputs[len(function.inputs) :]):
                node.resize_inputs(min(len(function.inputs), len(node.inputs)))
            node.resize_outputs(max(len(function.outputs), len(node.outputs)))
    common.InlinePass()(model)


class ExpandFunctions(ir.passes.InPlacePass):
    """Requires the types of all values, on which some definitions depend; leaves no operator of EXPANDED."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Expand the operators of EXPANDED, and infer the shapes of the new values."""
        nodes = [n for n in ir.traversal.RecursiveGraphIterator(model.graph) if (n.domain, n.op_type) in EXPANDED]
        for number, node in enumerate(nodes):
            _expand(model, node, number)
        if nodes:
            inline(model)
            infer_shapes(model)
        return ir.passes.PassResult(model, modified=bool(nodes))


def _expand(model: ir.Model, node: ir.Node, number: int) -> None:
    """Turn the node into a call of a function in the model, whose body is ONNX's definition for the node's types."""
    opset = model.opset_imports[node.domain]
    schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes.add(ir.serde.deserialize_attribute(attribute.default_value))
    body = _definition(schema, node, opset)
    for name in [n for n, a in node.attributes.items() if a.type is ir.AttributeType.GRAPH]:
        del node.attributes[name]  # the definition contains the nodes of such a graph
    body.name, body.domain = f"{node.op_type}_{number}", _DOMAIN
    function = ir.serde.deserialize_function(body)
    function.graph.opset_imports.clear()  # the definition was chosen for the model's own opset
    model.functions[function.identifier()] = function
    node.domain, node.op_type = _DOMAIN, body.name
    model.opset_imports.setdefault(_DOMAIN, 1)


def _definition(schema: Any, node: ir.Node, opset: int) -> onnx.FunctionProto:
    """Return ONNX's newest definition for an opset (`schema` is Any: the type stubs of OpSchema omit its functions)."""
    fixed = [v for v in schema.function_opset_versions if v <= opset]
    dependent = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if fixed and max(fixed) >= max(dependent, default=0):
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(max(fixed)))
    types = [_type(value).SerializeToString() for value in node.inputs]
    return onnx.FunctionProto.FromString(
        schema.get_context_dependent_function_with_opset_version(
            max(dependent), ir.serde.serialize_node(node).SerializeToString(), types
        )
    )


def _type(value: ir.Value | None) -> onnx.TypeProto:
    return onnx.TypeProto() if value is None else ir.serde.serialize_value(value).type
