"""The elements of a vector of sizes: numbers, or the sizes of other values that are known only at run time."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import attribute, constant, producer, rank

Extent: TypeAlias = "int | tuple[ir.Value, int]"
"""A number, or a (value, axis) whose size is known only at run time."""


def extents_of(value: ir.Value) -> list[Extent] | None:
    """Return the sizes of a value's axes, or None if its rank is unknown."""
    if value.shape is None:
        return None
    return [size if isinstance(size, int) else (value, axis) for axis, size in enumerate(value.shape)]


def extents_in(vector: ir.Value | None) -> list[Extent] | None:
    """Return the sizes in an int64 vector computed from constants, Shape, Slice and Concat, or None for any other vector."""
    if vector is None:
        return None
    array = constant(vector)
    if array is not None:
        return [int(size) for size in array] if array.ndim == 1 and array.dtype == np.int64 else None
    node = producer(vector, "Shape", "Slice", "Concat")
    if node is None:
        return None
    return {"Shape": _shape, "Slice": _slice, "Concat": _concat}[node.op_type](node)


def _shape(node: ir.Node) -> list[Extent] | None:
    (source,) = node.inputs
    extents = None if source is None else extents_of(source)
    return None if extents is None else extents[attribute(node, "start", 0) : attribute(node, "end", None)]


def _slice(node: ir.Node) -> list[Extent] | None:
    extents, bounds = extents_in(node.inputs[0]), [constant(value) for value in node.inputs[1:]]
    if extents is None or any(bound is None or bound.size != 1 for bound in bounds) or rank(node.inputs[0]) != 1:
        return None
    start, end, *rest = (int(bound.reshape(())) for bound in bounds if bound is not None)
    return extents[start : end : rest[1] if len(rest) > 1 else 1]


def _concat(node: ir.Node) -> list[Extent] | None:
    parts = [extents_in(value) for value in node.inputs]
    return None if None in parts else [extent for part in parts if part is not None for extent in part]
