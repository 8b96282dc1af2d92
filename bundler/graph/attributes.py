"""Checks of attributes that no pass can work with, made before the first one sees the model.

1. An attribute holds a value of the type that it declares.
2. Its type is the one that the operator's schema requires.
3. An `axis` is within the range that any tensor has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnx.defs
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from bundler.errors import ConversionError

_MESSAGES = {
    AttributeProto.TENSOR: "t", AttributeProto.GRAPH: "g", AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
}  # fmt: skip
"""Attribute type -> the message field that holds its value, whose presence protobuf records (onnx.proto, AttributeProto)."""


_MOST_AXES = 64
"""The most axes that a NumPy array has, and so any tensor here."""


def check_attributes(model: ModelProto, path: Path) -> None:
    """Raise if an attribute has the wrong type, or names an axis that no tensor has.

    Args:
        model: the model, as read from the file.
        path: the file, for the message.

    Raises:
        ConversionError: the message names the node, the attribute, and both types or the axis.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    for node in _nodes(model):
        version = opsets.get(node.domain)
        required = _required_types(node.op_type, node.domain, version) if version is not None else {}
        for attribute in node.attribute:
            _check(attribute, required.get(attribute.name), node, path)


def _check(attribute: AttributeProto, required: int | None, node: NodeProto, path: Path) -> None:
    field = _MESSAGES.get(attribute.type)
    if attribute.ref_attr_name:
        return  # a reference to an attribute of the enclosing function
    if field is not None and not attribute.HasField(field):
        problem = f"declares the type {_type_name(attribute.type)}, but holds no such value"
    elif required is not None and attribute.type not in (required, AttributeProto.UNDEFINED):
        problem = f"has the type {_type_name(attribute.type)}; the operator requires {_type_name(required)}"
    elif attribute.name == "axis" and attribute.type == AttributeProto.INT and not -_MOST_AXES <= attribute.i < _MOST_AXES:
        problem = f"is {attribute.i}; a tensor has at most {_MOST_AXES} axes"
    else:
        return
    name = (node.name or next(iter(node.output), ""))[:100]
    raise ConversionError(
        f"The attribute {attribute.name[:100]!r} of the node {name!r} ({node.op_type[:100]}) of {path} {problem}.",
        fix="check the file with onnx.checker, and export it again",
        code="TFB3003",
    )


def _type_name(number: int) -> str:
    known = AttributeProto.AttributeType.values()
    return AttributeProto.AttributeType.Name(number).lower() if number in known else f"type {number}"


@cache
def _required_types(op_type: str, domain: str, version: int) -> Mapping[str, int]:
    """Return the types of the attributes in ONNX's schema; empty if ONNX does not know the operator."""
    try:
        schema: Any = onnx.defs.get_schema(op_type, version, "" if domain == "ai.onnx" else domain)
    except (onnx.defs.SchemaError, TypeError):  # TypeError: a version beyond int32
        return {}
    return {name: int(attribute.type.value) for name, attribute in schema.attributes.items()}


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    yield from _nodes_of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _with_subgraphs(node)


def _nodes_of_graph(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield from _with_subgraphs(node)


def _with_subgraphs(node: NodeProto) -> Iterator[NodeProto]:
    yield node
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _nodes_of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _nodes_of_graph(graph)
