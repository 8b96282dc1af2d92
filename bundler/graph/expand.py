"""Operators that ONNX defines by a graph of simpler ones, and that have no handler, become that graph.

ONNX's own inliner (onnx.inliner) does the same, but stops at optional inputs that are left out.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from bundler.graph.infer import infer_shapes

EXPANDED = frozenset(
    {
        ("", "CausalConvWithState"),
        ("", "CenterCropPad"),
        ("", "LinearAttention"),
        ("", "SwiGLU"),
        ("ai.onnx.preview", "FlexAttention"),
    }
)
"""(domain, operator). Those that TensorFlow has a good form for are not here: they have handlers."""

_DOMAIN = "tfbundle.expanded"


class ExpandFunctions(ir.passes.InPlacePass):
    """Needs: types of all values, for operators whose graph depends on them. Gives: none of EXPANDED."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [n for n in ir.traversal.RecursiveGraphIterator(model.graph) if (n.domain, n.op_type) in EXPANDED]
        for node, number in zip(found, count(), strict=False):
            _expand(model, node, number)
        if found:
            common.InlinePass()(model)
            infer_shapes(model)
        return ir.passes.PassResult(model, modified=bool(found))


def _expand(model: ir.Model, node: ir.Node, number: int) -> None:
    """Make the node a call of a function of the model, whose body is ONNX's definition for the node's types."""
    opset = model.opset_imports[node.domain]
    schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes.add(ir.serde.deserialize_attribute(attribute.default_value))
    body = _definition(schema, node, opset)
    for name in [n for n, a in node.attributes.items() if a.type is ir.AttributeType.GRAPH]:
        del node.attributes[name]  # the definition holds the nodes of such a graph itself
    body.name, body.domain = f"{node.op_type}_{number}", _DOMAIN
    function = ir.serde.deserialize_function(body)
    function.graph.opset_imports.clear()  # ONNX's definitions hold for every opset that they are given out for
    model.functions[function.identifier()] = function
    node.domain, node.op_type = _DOMAIN, body.name
    model.opset_imports.setdefault(_DOMAIN, 1)


def _definition(schema: Any, node: ir.Node, opset: int) -> onnx.FunctionProto:
    """onnx.defs.OpSchema's type stubs leave out its functions."""
    own = [v for v in schema.function_opset_versions if v <= opset]
    dependent = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if own and max(own) >= max(dependent, default=0):
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(max(own)))
    types = [_type(value).SerializeToString() for value in node.inputs]
    return onnx.FunctionProto.FromString(
        schema.get_context_dependent_function_with_opset_version(
            max(dependent), ir.serde.serialize_node(node).SerializeToString(), types
        )
    )


def _type(value: ir.Value | None) -> onnx.TypeProto:
    return onnx.TypeProto() if value is None else ir.serde.serialize_value(value).type
