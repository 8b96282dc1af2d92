"""Traces a value back to the channels of the projection that it consists of, so that only those channels are scaled.

Between a projection and the attention heads, operators only move elements: Reshape, Transpose, Squeeze, and Slice, Split or
Gather, which select the query from a projection that computes query, key and value at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bundler.graph.fusion import Declined, attribute, constant
from bundler.graph.scaled_weights import channels_of, is_product

Indices = npt.NDArray[np.int64]

_MOVES = ("Reshape", "Transpose", "Squeeze", "Slice", "Split", "Gather")
_PARTS = ("Slice", "Split", "Gather")


@dataclass(frozen=True)
class _Axes:
    """The channel at each position of a value.

    Attributes:
        channels: channel numbers, with one axis for each of `axes`.
        axes: the axes of the value along which the channel changes.
    """

    channels: Indices
    axes: tuple[int, ...]


def source_channels(value: ir.Value, through: ir.Node) -> tuple[ir.Node, Indices]:
    """Find the product that a value is taken from, and the channels of the product that the value consists of.

    Args:
        value: the value, which only `through` may read.
        through: the node that reads the value.

    Returns:
        The product, and the channel numbers, [count].

    Raises:
        Declined: the value does not come from a product with constant weights by moves alone, or other nodes read these
            channels as well.
    """
    path: list[ir.Value] = [value]
    while not is_product(path[-1].producer()):
        node = path[-1].producer()
        if node is None or node.domain != "" or node.op_type not in _MOVES or node.inputs[0] is None:
            raise Declined("The query must come from a projection with constant weights.")
        path.append(node.inputs[0])
    product = path[-1].producer()
    assert product is not None
    if product.op_type not in ("Linear", "Gemm", "MatMul") or path[-1].shape is None:
        raise Declined("The query must come from a projection with constant weights.")
    count, _ = channels_of(product)
    axes = _Axes(np.arange(count), (len(path[-1].shape) - 1,))
    for source, result in zip(path[:0:-1], path[-2::-1], strict=True):
        node = result.producer()
        assert node is not None
        moved = _after(node, source, result, axes)
        _check_other_readers(source, node, axes, moved)
        axes = moved
    if value.is_graph_output() or _readers(value) != {through}:
        raise Declined("Other nodes must not read the query.")
    return product, axes.channels.reshape(-1)


def _check_other_readers(source: ir.Value, through: ir.Node, axes: _Axes, moved: _Axes) -> None:
    """Raise Declined if other nodes than `through` read channels of `source` that are in `moved`."""
    channels = set(moved.channels.reshape(-1).tolist())
    if source.is_graph_output():
        raise Declined("The projection must not be a graph output.")
    for node in _readers(source) - {through}:
        if node.domain != "" or node.op_type not in _PARTS or node.inputs[0] is not source:
            raise Declined("Other nodes must not read the query's channels of the projection.")
        for output in node.outputs:
            if channels & set(_after(node, source, output, axes).channels.reshape(-1).tolist()):
                raise Declined("Other nodes must not read the query's channels of the projection.")


def _readers(value: ir.Value) -> set[ir.Node]:
    """Return the nodes that read more of a value than its shape."""
    return {use.node for use in value.uses() if (use.node.domain, use.node.op_type) != ("", "Shape")}


def _after(node: ir.Node, source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    """Return where the channels are in `result`, which `node` computes from `source`."""
    if source.shape is None or result.shape is None:
        raise Declined("Every value between the projection and the query must have a known rank.")
    match node.op_type:
        case "Reshape":
            return _reshaped(source, result, axes)
        case "Transpose":
            return _transposed(node, len(source.shape), axes)
        case "Squeeze":
            return _squeezed(source, result, axes)
        case "Slice":
            return _sliced(node, len(source.shape), axes)
        case "Split":
            return _split(node, source, result, axes)
        case _:
            return _gathered(node, len(source.shape), axes)


def _reshaped(source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    """[…, C] -> […, c1, c2], C = c1 c2."""
    assert source.shape is not None and result.shape is not None
    count = axes.channels.size
    if axes.axes != (len(source.shape) - 1,):
        raise Declined("The channels must stay on the last axis until they are split into heads.")
    sizes: list[int] = []
    for size in reversed(list(result.shape)):
        if prod(sizes) == count or not isinstance(size, int):
            break
        sizes.insert(0, size)
    if prod(sizes) != count or not sizes:
        raise Declined("Reshape must not mix the channels with other axes.")
    rank = len(result.shape)
    return _Axes(axes.channels.reshape(sizes), tuple(range(rank - len(sizes), rank)))


def _transposed(node: ir.Node, rank: int, axes: _Axes) -> _Axes:
    permutation = list(attribute(node, "perm", list(reversed(range(rank)))))
    moved = [permutation.index(axis) for axis in axes.axes]
    order = sorted(range(len(moved)), key=moved.__getitem__)
    return _Axes(axes.channels.transpose(order), tuple(moved[index] for index in order))


def _squeezed(source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    assert source.shape is not None and result.shape is not None
    node = result.producer()
    assert node is not None
    squeezed = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if squeezed is None:
        raise Declined("The axes of Squeeze must be constant.")
    return _without(axes, {int(axis) % len(source.shape) for axis in squeezed.reshape(-1)})


def _without(axes: _Axes, removed: set[int]) -> _Axes:
    """Remove axes of one element."""
    inner = tuple(index for index, axis in enumerate(axes.axes) if axis in removed)
    remaining = (axis for axis in axes.axes if axis not in removed)
    return _Axes(axes.channels.squeeze(inner), tuple(axis - sum(other < axis for other in removed) for axis in remaining))


def _sliced(node: ir.Node, rank: int, axes: _Axes) -> _Axes:
    bounds = [constant(value) for value in node.inputs[1:]]
    if len(bounds) < 3 or any(bound is None or bound.size != 1 for bound in bounds):
        raise Declined("Slice must have constant bounds on one axis.")
    start, end, axis, *step = (int(bound.reshape(())) for bound in bounds if bound is not None)
    return _part(axes, axis % rank, slice(start, end, *step))


def _split(node: ir.Node, source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    assert source.shape is not None
    axis = attribute(node, "axis", 0) % len(source.shape)
    sizes = [None if out.shape is None else out.shape[axis] for out in node.outputs]
    index = next(i for i, out in enumerate(node.outputs) if out is result)
    known = [size for size in sizes[: index + 1] if isinstance(size, int)]
    if len(known) != index + 1:
        raise Declined("The output sizes of Split must be known.")
    return _part(axes, axis, slice(sum(known[:-1]), sum(known)))


def _gathered(node: ir.Node, rank: int, axes: _Axes) -> _Axes:
    index, axis = constant(node.inputs[1]), attribute(node, "axis", 0) % rank
    if index is None or index.ndim:
        raise Declined("Gather must take one constant index.")
    start = int(index)
    return _without(_part(axes, axis, slice(start, None if start == -1 else start + 1)), {axis})


def _part(axes: _Axes, axis: int, part: slice) -> _Axes:
    if axis not in axes.axes:
        raise Declined("The query must be taken along an axis of the channels.")
    inner = axes.axes.index(axis)
    return _Axes(axes.channels[(slice(None),) * inner + (part,)], axes.axes)
