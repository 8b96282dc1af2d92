"""What the engine reads from the nodes and values of an ONNX graph."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from bundler.values.arrays import Array


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """Return the node's attributes as Python values: ints, floats, str, lists, NumPy arrays, graphs."""
    return {name: _attribute(attr) for name, attr in node.attributes.items()}


def _attribute(attr: ir.Attr) -> Any:
    if attr.type is ir.AttributeType.TENSOR:
        return attr.as_tensor().numpy()
    if attr.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return list(attr.value)
    return attr.value


def has_graph(node: ir.Node) -> bool:
    """Whether the node holds a graph: a branch or a loop body."""
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def all_nodes(graph: ir.Graph) -> Iterable[ir.Node]:
    """Return every node of a graph and of the graphs within it."""
    return ir.traversal.RecursiveGraphIterator(graph)


def is_read(value: ir.Value) -> bool:
    """Whether a node reads a value of the ONNX graph, or it is an output of the graph."""
    return bool(value.uses()) or value.is_graph_output()


def is_read_once(value: ir.Value | None) -> bool:
    """Whether a value of the ONNX graph has exactly one reader: a node, or the caller of the graph."""
    return value is not None and len(value.uses()) + value.is_graph_output() == 1


def initializer_array(tensor: ir.TensorProtocol) -> Array:
    """Return an initializer as a NumPy array; strings as an object array of bytes."""
    if tensor.dtype is ir.DataType.STRING:
        texts: Any = tensor
        strings: Array = np.array(texts.string_data(), dtype=np.object_).reshape(texts.shape.numpy())
        return strings
    return tensor.numpy()


def name_of(value: ir.Value) -> str:
    """Return the value's name; an empty string if it has none."""
    return value.name or ""


def dim_names_of(value: ir.Value) -> tuple[str | None, ...] | None:
    """Return the names of the value's dynamic dims, None for a known one; None if the value has no shape."""
    if value.shape is None:
        return None
    return tuple(None if isinstance(d, int) else d.value for d in value.shape)


def layer_scope(node: Any) -> str:
    """Return the name that a node (onnx_ir's or ONNX's own) has in TensorFlow's graph.

    TensorFlow accepts ASCII letters and digits, and a few other characters behind the first (framework/ops.py,
    `_VALID_SCOPE_NAME_REGEX`). It numbers equal names itself.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", node.name or node.op_type)
    return name if re.match(r"[A-Za-z0-9]", name) else f"n{name}"
