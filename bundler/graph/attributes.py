"""Attributes whose type is not what they hold, or not what their operator asks for, and axes that no tensor has: ONNX's version
converter ends the process on some of them (SIGSEGV), so they are refused before it sees the model.
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
"""The field that holds an attribute of this type, where protobuf tells whether it is there (onnx.proto, AttributeProto)."""


_MOST_AXES = 64
"""Of a NumPy array; an array of the model's has no more."""


def check_attributes(model: ModelProto, path: Path) -> None:
    """Refuse attributes of the wrong type, and axes beyond those of any tensor.

    Raises:
        ConversionError: names the node, the attribute, and both types or the axis.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    for node in _nodes(model):
        version = opsets.get(node.domain)
        wanted = _types(node.op_type, node.domain, version) if version is not None else {}
        for attribute in node.attribute:
            _check(attribute, wanted.get(attribute.name), node, path)


def _check(attribute: AttributeProto, wanted: int | None, node: NodeProto, path: Path) -> None:
    field = _MESSAGES.get(attribute.type)
    if attribute.ref_attr_name:
        return  # a function's own attribute, by name
    if field is not None and not attribute.HasField(field):
        what = f"says that it is a {_name(attribute.type)}, and holds none"
    elif wanted is not None and attribute.type not in (wanted, AttributeProto.UNDEFINED):
        what = f"is a {_name(attribute.type)}; the operator asks for a {_name(wanted)}"
    elif attribute.name == "axis" and attribute.type == AttributeProto.INT and not -_MOST_AXES <= attribute.i < _MOST_AXES:
        what = f"is {attribute.i}; a tensor has {_MOST_AXES} axes at most"
    else:
        return
    shown = (node.name or next(iter(node.output), ""))[:100]
    raise ConversionError(
        f"The attribute {attribute.name[:100]!r} of the node {shown!r} ({node.op_type[:100]}) of {path} {what}.",
        fix="check the file with onnx.checker, and export it again",
    )


def _name(kind: int) -> str:
    known = AttributeProto.AttributeType.values()
    return AttributeProto.AttributeType.Name(kind).lower() if kind in known else f"type {kind}"


@cache
def _types(op_type: str, domain: str, version: int) -> Mapping[str, int]:
    """The attributes' types by ONNX's schema; empty where it has none."""
    try:
        schema: Any = onnx.defs.get_schema(op_type, version, "" if domain == "ai.onnx" else domain)
    except (onnx.defs.SchemaError, TypeError):  # TypeError: a version beyond int32
        return {}
    return {name: int(attribute.type.value) for name, attribute in schema.attributes.items()}


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    yield from _within(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _with_inner(node)


def _within(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield from _with_inner(node)


def _with_inner(node: NodeProto) -> Iterator[NodeProto]:
    yield node
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _within(attribute.g)
        for graph in attribute.graphs:
            yield from _within(graph)
