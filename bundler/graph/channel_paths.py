"""Which channels of a product with constant weights a value further on is made of, so that only these are scaled.

Between a projection and the heads of attention stand operators that move elements and change none: Reshape, Transpose, Squeeze,
and Slice, Split or Gather, which take the query out of a projection that makes query, key and value at once.
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
    """Which channel stands where: `channels` has an axis for each of `places`, the axes of the value that tell channels apart."""

    channels: Indices
    places: tuple[int, ...]


def channels_behind(value: ir.Value, through: ir.Node) -> tuple[ir.Node, Indices]:
    """The product that the value is made of, and the channels of it that the value holds and only `through` reads.

    Raises:
        Declined: no such product stands before it, something else is computed on the way, or others read these channels too.
    """
    path: list[ir.Value] = [value]
    while not is_product(path[-1].producer()):
        node = path[-1].producer()
        if node is None or node.domain != "" or node.op_type not in _MOVES or node.inputs[0] is None:
            raise Declined("the query is no projection with constant weights")
        path.append(node.inputs[0])
    product = path[-1].producer()
    assert product is not None
    if product.op_type not in ("Linear", "Gemm", "MatMul") or path[-1].shape is None:
        raise Declined("the query is no projection with constant weights")
    count, _ = channels_of(product)
    axes = _Axes(np.arange(count), (len(path[-1].shape) - 1,))
    for source, result in zip(path[:0:-1], path[-2::-1], strict=True):
        node = result.producer()
        assert node is not None
        taken = _after(node, source, result, axes)
        _check_untouched(source, node, axes, taken)
        axes = taken
    if value.is_graph_output() or _readers(value) != {through}:
        raise Declined("other nodes read the query as well")
    return product, axes.channels.reshape(-1)


def _check_untouched(source: ir.Value, through: ir.Node, axes: _Axes, taken: _Axes) -> None:
    """Other readers of `source` take other channels."""
    ours = set(taken.channels.reshape(-1).tolist())
    if source.is_graph_output():
        raise Declined("other nodes read the projection as well")
    for node in _readers(source) - {through}:
        if node.domain != "" or node.op_type not in _PARTS or node.inputs[0] is not source:
            raise Declined("other nodes read the projection as well")
        for other in node.outputs:
            if ours & set(_after(node, source, other, axes).channels.reshape(-1).tolist()):
                raise Declined("other nodes read the projection as well")


def _readers(value: ir.Value) -> set[ir.Node]:
    """Those that read more than its shape."""
    return {use.node for use in value.uses() if (use.node.domain, use.node.op_type) != ("", "Shape")}


def _after(node: ir.Node, source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    if source.shape is None or result.shape is None:
        raise Declined("the rank of what stands between projection and query is unknown")
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
    if axes.places != (len(source.shape) - 1,):
        raise Declined("channels are moved before they are split into heads")
    sizes: list[int] = []
    for size in reversed(list(result.shape)):
        if prod(sizes) == count or not isinstance(size, int):
            break
        sizes.insert(0, size)
    if prod(sizes) != count or not sizes:
        raise Declined("channels are mixed with other axes")
    rank = len(result.shape)
    return _Axes(axes.channels.reshape(sizes), tuple(range(rank - len(sizes), rank)))


def _transposed(node: ir.Node, rank: int, axes: _Axes) -> _Axes:
    permutation = list(attribute(node, "perm", list(reversed(range(rank)))))
    places = [permutation.index(place) for place in axes.places]
    order = sorted(range(len(places)), key=places.__getitem__)
    return _Axes(axes.channels.transpose(order), tuple(places[axis] for axis in order))


def _squeezed(source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    assert source.shape is not None and result.shape is not None
    node = result.producer()
    assert node is not None
    named = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if named is None:
        raise Declined("which axes are squeezed is not known")
    gone = {int(axis) % len(source.shape) for axis in named.reshape(-1)}
    return _without(axes, gone)


def _without(axes: _Axes, gone: set[int]) -> _Axes:
    """After axes of one element went."""
    inner = tuple(index for index, place in enumerate(axes.places) if place in gone)
    kept = (place for place in axes.places if place not in gone)
    return _Axes(axes.channels.squeeze(inner), tuple(place - sum(axis < place for axis in gone) for place in kept))


def _sliced(node: ir.Node, rank: int, axes: _Axes) -> _Axes:
    bounds = [constant(value) for value in node.inputs[1:]]
    if len(bounds) < 3 or any(bound is None or bound.size != 1 for bound in bounds):
        raise Declined("the bounds of a Slice are not constants of one axis")
    start, end, axis, *step = (int(bound.reshape(())) for bound in bounds if bound is not None)
    return _taken(axes, axis % rank, slice(start, end, *step))


def _split(node: ir.Node, source: ir.Value, result: ir.Value, axes: _Axes) -> _Axes:
    assert source.shape is not None
    axis = attribute(node, "axis", 0) % len(source.shape)
    sizes = [None if out.shape is None else out.shape[axis] for out in node.outputs]
    index = next(i for i, out in enumerate(node.outputs) if out is result)
    known = [size for size in sizes[: index + 1] if isinstance(size, int)]
    if len(known) != index + 1:
        raise Declined("the sizes of a Split are not known")
    return _taken(axes, axis, slice(sum(known[:-1]), sum(known)))


def _gathered(node: ir.Node, rank: int, axes: _Axes) -> _Axes:
    index, axis = constant(node.inputs[1]), attribute(node, "axis", 0) % rank
    if index is None or index.ndim:
        raise Declined("a Gather takes other than one constant index")
    start = int(index)
    return _without(_taken(axes, axis, slice(start, None if start == -1 else start + 1)), {axis})


def _taken(axes: _Axes, axis: int, part: slice) -> _Axes:
    if axis not in axes.places:
        raise Declined("a part is taken along another axis than the channels'")
    inner = axes.places.index(axis)
    return _Axes(axes.channels[(slice(None),) * inner + (part,)], axes.places)
