"""Gathers, scatters, searches and orders.

https://onnx.ai/onnx/operators/onnx__Gather.html, https://onnx.ai/onnx/operators/onnx__ScatterND.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.context import Context
from bundler.converters.native.ops.half import in_single
from bundler.converters.native.ops.shape import drop_axes
from bundler.converters.native.orders import identity
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.converters.native.zero_sizes import reducible
from bundler.graph.provenance import FX_NODE


@op("Gather", layout=AxisPolicy.VALUES)
def gather(ctx: Context, data: Value, indices: Value, *, axis: int = 0) -> Value:
    """Lower Gather; constant indices that are one index or neighbours become a slice.

    Negative indices count from the end, which tf.gather does not support. A .tflite file does without for torch's embeddings,
    whose indices are never negative.
    """
    rank = len(data.shape)
    axis = axis % rank
    if indices.array is not None and indices.array.ndim == 0:
        return _take_one(ctx, data, int(indices.array), axis)
    neighbours = _neighbours(indices, data.shape[axis])
    if neighbours is not None and None not in data.shape:
        return _take_neighbours(ctx, data, neighbours, indices.shape, axis)
    storage_axis = axis if data.order is None else data.order.index(axis)
    if ctx.target == "tflite" and indices.array is None and _is_embedding(ctx):
        return ctx.value(tf.gather(data.tensor, indices.tensor, axis=axis))
    if indices.rank == 1:
        index = wrapped(indices, data.shape[axis], data.stored, storage_axis)
        return ctx.value(tf.gather(data.stored, index, axis=storage_axis), data.order)
    index = wrapped(indices, data.shape[axis], data.tensor, axis)
    return ctx.value(tf.gather(data.tensor, index, axis=axis))


def _is_embedding(ctx: Context) -> bool:
    """Return whether the node comes from torch's embedding, which refuses negative indices."""
    return ctx.node is not None and "aten.embedding." in ctx.node.metadata_props.get(FX_NODE, "")


def _take_one(ctx: Context, data: Value, index: int, axis: int) -> Value:
    """Take a constant scalar index by a slice that drops the axis, whatever order the data has."""
    order = data.order or identity(len(data.shape))
    place, size = order.index(axis), data.shape[axis]
    if len(order) > ranks.SLICE_AXES[ctx.target]:
        block, sizes = ranks.around(data.stored, place)
        one = block[:, slice(index, index + 1 or None)]
        return ctx.value(ranks.reshaped(one, [*sizes[:place], *sizes[place + 1 :]]), drop_axes(order, [axis]))
    slices: list[slice | int] = [slice(None)] * len(order)
    slices[place] = index
    if ctx.target == "tflite" and size is not None:  # XNNPACK slices, but cannot drop an axis
        slices[place] = slice(index % size, index % size + 1)
        return ctx.value(tf.squeeze(data.stored[tuple(slices)], place), drop_axes(order, [axis]))
    return ctx.value(data.stored[tuple(slices)], drop_axes(order, [axis]))


def _neighbours(indices: Value, size: int | None) -> tuple[int, int] | None:
    """Return the first index and the end of constant indices that count up by one, or None."""
    if indices.array is None or size is None or not indices.array.size:
        return None
    flat = indices.array.reshape(-1)
    first = int(flat[0]) % size
    return (first, first + flat.size) if (flat % size == np.arange(first, first + flat.size)).all() else None


def _take_neighbours(ctx: Context, data: Value, neighbours: tuple[int, int], shape: Sequence[int | None], axis: int) -> Value:
    """Slice one axis and give it the shape of the indices; the whole axis needs no slice."""
    first, end = neighbours
    whole = end - first == data.shape[axis]
    order = data.order or identity(len(data.shape))
    slices = [slice(first, end) if a == axis else slice(None) for a in order]
    taken = data.stored if whole else ranks.sliced(data.stored, slices, ctx.target)
    if len(shape) == 1:
        return data if whole else ctx.value(taken, data.order)
    moved = ctx.value(taken, data.order).tensor
    return ctx.value(tf.reshape(moved, [*data.shape[:axis], *shape, *data.shape[axis + 1 :]]))


def wrapped(indices: Value, size: int | None, data: Tensor, axis: int) -> Tensor:
    """Return the indices with negative ones counted from the end."""
    if indices.array is not None and (size is not None or (indices.array >= 0).all()):
        array = indices.array
        return tf.constant(np.where(array < 0, array + size, array) if size is not None else array)
    index = indices.tensor
    if indices.non_negative:
        return index
    length = tf.cast(tf.shape(data)[axis], index.dtype) if size is None else tf.constant(size, index.dtype)
    return ranks.elementwise(lambda i: tf.where(i < 0, i + length, i), index)


@op("GatherElements", layout=AxisPolicy.VALUES)
def gather_elements(ctx: Context, data: Value, indices: Value, *, axis: int = 0) -> Value:
    """Lower GatherElements: for axis 0, out[i][j] = data[index[i][j]][j]. A scalar is a vector of one element."""
    if not data.shape:
        return _scalar(ctx, gather_elements(ctx, *_vectors(ctx, data, indices)))
    coordinates = element_coordinates(data, indices, axis % len(data.shape))
    return ctx.value(_taken(data.tensor, coordinates))


def _vectors(ctx: Context, *scalars: Value) -> list[Value]:
    """Return operands of one element each as vectors. torch writes scatter of scalars, which ONNX does not define, as it is."""
    return [ctx.value(tf.reshape(scalar.tensor, [1])) for scalar in scalars]


def _scalar(ctx: Context, vector: Value) -> Value:
    return ctx.value(tf.reshape(vector.tensor, []))


def _taken(data: Tensor, coordinates: Tensor) -> Tensor:
    """Return the elements or slices of data at coordinates, of which there may be more than GatherNd takes."""
    if (coordinates.shape[-1] or 0) <= ranks.MOST_COORDINATES:
        return _gathered(data, coordinates)
    return _gathered(*ranks.with_one_coordinate(data, coordinates))


def element_coordinates(data: Value, indices: Value, axis: int) -> Tensor:
    """Return the full coordinates [..., rank] of the elements that an index tensor selects along one axis."""
    index = tf.cast(wrapped(indices, data.shape[axis], data.tensor, axis), tf.int64)
    sizes = tf.shape(index, out_type=tf.int64)
    rank = len(data.shape)
    grids = tf.meshgrid(*[tf.range(sizes[a]) for a in range(rank)], indexing="ij")
    grids[axis] = index
    return tf.stack(grids, -1)


@op("GatherND", layout=AxisPolicy.VALUES, since=11)
def gather_nd(ctx: Context, data: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    """Lower GatherND: the elements or slices of data at coordinates; those of all its elements in their order are a view."""
    if _is_whole(data, indices, batch_dims):
        *sizes, depth = indices.shape
        return ctx.value(tf.reshape(data.tensor, [*sizes, *data.shape[depth:]]))
    index = wrapped_nd(data, indices, batch_dims)
    if not batch_dims:
        return ctx.value(_taken(data.tensor, index))
    if batch_dims + (index.shape[-1] or 0) <= ranks.MOST_COORDINATES:
        return ctx.value(_gathered(data.tensor, index, batch_dims))
    return ctx.value(_taken_by_batch(data.tensor, index, batch_dims))


def _is_whole(data: Value, indices: Value, batch_dims: int) -> bool:
    """Return whether constant coordinates select all of data in its order, as those with which transformers reads a mask."""
    if indices.array is None or batch_dims or None in data.shape or not indices.array.size:
        return False
    sizes = [size for size in data.shape if size is not None][: indices.array.shape[-1]]
    grid = np.indices(sizes).reshape(len(sizes), -1).T
    return np.array_equal(indices.array.reshape(-1, len(sizes)), grid)


def _taken_by_batch(data: Tensor, index: Tensor, batch_dims: int) -> Tensor:
    """Gather within each of the first `batch_dims` axes, merged, with the number of the batch as the first coordinate."""
    sizes, index_sizes = ranks.sizes_of(data), ranks.sizes_of(index)
    rows = ranks.reshaped(data, [ranks.joined(sizes[:batch_dims]), *sizes[batch_dims:]])
    places = ranks.reshaped(index, [ranks.joined(index_sizes[:batch_dims]), *index_sizes[batch_dims:]])
    row = tf.range(tf.shape(places, out_type=index.dtype)[0])
    row = tf.reshape(row, [-1, *[1] * (places.shape.rank - 1)])
    row = ranks.broadcast_to(row, [*ranks.sizes_of(places)[:-1], 1])
    taken = _taken(rows, tf.concat([row, places], -1))
    return ranks.reshaped(taken, [*index_sizes[:-1], *sizes[batch_dims + index.shape[-1] :]])


def _gathered(data: Tensor, index: Tensor, batch_dims: int = 0) -> Tensor:
    """Return tf.gather_nd of slices that may have no elements."""
    if not _has_empty_slices(data, index.shape[-1], batch_dims):
        return tf.gather_nd(data, index, batch_dims=batch_dims)
    sizes, index_sizes = tf.shape(data), tf.shape(index)
    depth = index_sizes[-1] if index.shape[-1] is None else index.shape[-1]
    batch, inner = index_sizes[:batch_dims], sizes[batch_dims + depth :]
    rows = tf.reshape(index, tf.concat([batch, [tf.reduce_prod(index_sizes[batch_dims:-1]), depth]], 0))
    count = _rows_to_move(rows, batch_dims, inner)
    taken = tf.gather_nd(data, rows[tuple([slice(None)] * batch_dims + [slice(count)])], batch_dims=batch_dims)
    result = tf.reshape(taken, tf.concat([index_sizes[:-1], inner], 0))
    if index.shape[-1] is not None:
        result.set_shape([*index.shape[:-1], *data.shape[batch_dims + depth :]])  # TFLite has no EnsureShape
    return result


def _has_empty_slices(data: Tensor, depth: int | None, batch_dims: int = 0) -> bool:
    """Return whether the slices behind coordinates of this depth have no elements, or may have none at run time."""
    return any(not size for size in data.shape[batch_dims + (depth or 0) :])


def _rows_to_move(rows: Tensor, axis: int, inner: Tensor) -> Tensor:
    """Return the number of rows along the axis; 0 if slices of the sizes `inner` have no elements.

    Kernels of TensorFlow that gather or scatter slices refuse empty tensors, unless there is nothing to gather or scatter
    (`Requested more than 0 entries, but params is empty`).
    """
    return tf.where(tf.equal(tf.reduce_prod(inner), 0), 0, tf.shape(rows)[axis])


def wrapped_nd(data: Value, indices: Value, batch_dims: int = 0) -> Tensor:
    """Return coordinates with negative ones counted from the end of their axis."""
    index = indices.tensor
    if indices.non_negative or (indices.array is not None and (indices.array >= 0).all()):
        return index
    depth = tf.shape(index)[-1] if indices.shape[-1] is None else indices.shape[-1]
    sizes = tf.shape(data.tensor, out_type=index.dtype)[batch_dims : batch_dims + depth]
    return ranks.elementwise(lambda i, s: tf.where(i < 0, i + s, i), index, sizes)


_SCATTERS: dict[str, Callable[..., Tensor]] = {
    "none": tf.tensor_scatter_nd_update,
    "add": tf.tensor_scatter_nd_add,
    "max": tf.tensor_scatter_nd_max,
    "min": tf.tensor_scatter_nd_min,
}


_OF_BOOLEANS = {"add": "max", "mul": "min", "max": "max", "min": "min"}
"""A sum of booleans is a logical or, which is a maximum; a product is a logical and."""


def scatter(ctx: Context, data: Tensor, coordinates: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """Write updates into data at full or partial coordinates, or reduce them into it."""
    if data.dtype == tf.bool and reduction in _OF_BOOLEANS:
        numbers = [tf.cast(t, tf.int32) for t in (data, updates)]
        return tf.cast(scatter(ctx, numbers[0], coordinates, numbers[1], _OF_BOOLEANS[reduction]), tf.bool)
    if reduction == "mul":
        return data * _scattered_product(data, coordinates, updates)
    if reduction not in _SCATTERS:
        raise ctx.reject(f"The reduction {reduction!r} is not defined by ONNX.")
    depth = coordinates.shape[-1]
    if depth is not None and depth > ranks.MOST_COORDINATES:
        flat, places = ranks.with_one_coordinate(data, coordinates)
        return ranks.reshaped(scatter(ctx, flat, places, updates, reduction), ranks.sizes_of(data))
    if _has_empty_slices(data, depth):
        depth = tf.shape(coordinates)[-1] if depth is None else depth
        inner = tf.shape(data)[depth:]
        coordinates = tf.reshape(coordinates, [-1, depth])
        updates = tf.reshape(updates, tf.concat([tf.shape(coordinates)[:1], inner], 0))
        count = _rows_to_move(coordinates, 0, inner)
        coordinates, updates = coordinates[:count], updates[:count]
    return _SCATTERS[reduction](data, coordinates, updates)


def _scattered_product(data: Tensor, coordinates: Tensor, updates: Tensor) -> Tensor:
    """Return for every element of data the product of its updates; 1 if it has none."""
    depth = tf.shape(coordinates)[-1] if coordinates.shape[-1] is None else coordinates.shape[-1]
    sizes = tf.shape(data, out_type=tf.int64)
    strides = tf.math.cumprod(sizes[:depth], exclusive=True, reverse=True)
    flat = tf.reshape(tf.reduce_sum(tf.cast(coordinates, tf.int64) * strides, -1), [-1])
    count = tf.reduce_prod(sizes[:depth])
    rows = tf.reshape(updates, tf.concat([tf.shape(flat, out_type=tf.int64), sizes[depth:]], 0))
    products = tf.math.unsorted_segment_prod(rows, flat, count)
    return tf.reshape(products, sizes)


@op("ScatterElements", layout=AxisPolicy.VALUES, since=11)
def scatter_elements(
    ctx: Context, data: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> Value:
    """Lower ScatterElements: for axis 0, out[index[i][j]][j] = updates[i][j]. A scalar is a vector of one element."""
    if not data.shape:
        return _scalar(ctx, scatter_elements(ctx, *_vectors(ctx, data, indices, updates), reduction=reduction))
    coordinates = element_coordinates(data, indices, axis % len(data.shape))
    return ctx.value(scatter(ctx, data.tensor, coordinates, updates.tensor, reduction))


@op("Scatter", layout=AxisPolicy.VALUES)
def scatter_9(ctx: Context, data: Value, indices: Value, updates: Value, *, axis: int = 0) -> Value:
    """Lower Scatter, the first name of ScatterElements."""
    return scatter_elements(ctx, data, indices, updates, axis=axis)


@op("ScatterND", layout=AxisPolicy.VALUES, since=11)
def scatter_nd(ctx: Context, data: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    """Lower ScatterND: data with updates written, or reduced, at coordinates."""
    return ctx.value(scatter(ctx, data.tensor, wrapped_nd(data, indices), updates.tensor, reduction))


@op("ArgMax", layout=AxisPolicy.VALUES)
def arg_max(ctx: Context, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """Lower ArgMax: the index of the first (or last) maximum along `axis`."""
    return _arg(ctx, x, axis, keepdims, select_last_index, tf.argmax)


@op("ArgMin", layout=AxisPolicy.VALUES)
def arg_min(ctx: Context, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """Lower ArgMin: the index of the first (or last) minimum along `axis`."""
    return _arg(ctx, x, axis, keepdims, select_last_index, tf.argmin)


def _arg(ctx: Context, x: Value, axis: int, keepdims: int, last: int, search: Callable[..., Tensor]) -> Value:
    axis = axis % len(x.shape)
    order = x.order or identity(len(x.shape))
    storage_axis = order.index(axis)
    data, sizes = (x.stored, None) if len(order) <= ranks.MOST_AXES[ctx.target] else ranks.around(x.stored, storage_axis)
    place = storage_axis if sizes is None else 1
    data = reducible(data, place)
    if last:
        size = tf.cast(tf.shape(data)[place], tf.int64)
        index = size - 1 - search(tf.reverse(data, [place]), place, output_type=tf.int64)
    else:
        index = search(data, place, output_type=tf.int64)
    if sizes is not None:
        index = ranks.reshaped(index, [*sizes[:storage_axis], *sizes[storage_axis + 1 :]])
    if keepdims:
        return ctx.value(tf.expand_dims(index, storage_axis), x.order)
    return ctx.value(index, drop_axes(order, [axis]))


@op("TopK", layout=AxisPolicy.VALUES, since=11)
def top_k(ctx: Context, x: Value, k: Value, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> list[Value]:
    """Lower TopK: values and int64 indices; equal values keep the order of their indices."""
    rank = len(x.shape)
    if rank == 0:  # torch writes a TopK of a scalar, which it sorts as one element
        return [ctx.value(x.tensor), ctx.value(tf.zeros([], tf.int64))]
    axis = axis % rank
    count = tf.cast(tf.reshape(k.tensor, []), tf.int32) if k.array is None else int(k.array.reshape(-1)[0])
    last = (*(a for a in range(rank) if a != axis), axis)
    data = x.in_order(last)
    if largest:
        values, indices = tf.math.top_k(data, count)
    else:
        indices = tf.argsort(data, axis=-1, stable=True)[..., :count]
        values = tf.gather(data, indices, batch_dims=rank - 1)
    return [ctx.value(values, last), ctx.value(tf.cast(indices, tf.int64), last)]


@op("OneHot", layout=AxisPolicy.VALUES)
def one_hot(ctx: Context, indices: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:
    """Lower OneHot with values = [off, on]; an index outside of [-depth, depth) gives a row of `off`."""
    count = tf.cast(tf.reshape(depth.tensor, []), tf.int64)
    index = tf.cast(indices.tensor, tf.int64)
    index = tf.where(index < 0, index + count, index)
    off, on = values.tensor[0], values.tensor[1]
    rank = len(indices.shape) + 1
    hot = tf.one_hot(index, tf.cast(count, tf.int32), on_value=True, off_value=False, axis=axis % rank, dtype=tf.bool)
    return ctx.value(ranks.elementwise(lambda h: tf.where(h, on, off), hot, target=ctx.target))


_WHERE_AXES = 8
"""The axes of TensorFlow's Where."""


@op("NonZero")
def non_zero(x: Tensor) -> Tensor:
    """Lower NonZero: the coordinates [rank, count], in row-major order; [0, count] of a scalar, as in PyTorch.

    ONNX Runtime returns [1, count] for a scalar, which the page excludes.

    Source: https://onnx.ai/onnx/operators/onnx__NonZero.html
    """
    if x.shape.rank == 0:  # tf.where does not take it
        return non_zero(tf.reshape(x, [1]))[:0]
    condition = x if x.dtype == tf.bool else tf.not_equal(x, tf.zeros([], x.dtype)) if x.dtype != tf.string else x != ""
    if not ranks.exceeds(x, _WHERE_AXES):
        return tf.transpose(tf.where(condition))
    sizes = tf.shape(x, out_type=tf.int64)
    strides = tf.math.cumprod(sizes, exclusive=True, reverse=True)
    return tf.transpose(tf.where(tf.reshape(condition, [-1]))) // strides[:, None] % sizes[:, None]


@op("Trilu", layout=AxisPolicy.VALUES)
def trilu(ctx: Context, x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    """Lower Trilu: the upper or lower triangle of the last two axes, from diagonal k."""
    data = x.tensor
    rows, columns = tf.shape(data, out_type=tf.int64)[-2], tf.shape(data, out_type=tf.int64)[-1]
    diagonal = tf.constant(0, tf.int64) if k is None else tf.reshape(tf.cast(k.tensor, tf.int64), [])
    distance = tf.range(columns)[None, :] - tf.range(rows)[:, None]
    keep = distance >= diagonal if upper else distance <= diagonal
    zero = tf.zeros([], data.dtype)
    return ctx.value(ranks.elementwise(lambda k, d: tf.where(k, d, zero), keep, data, target=ctx.target))


def _register_cumulative(name: str, compute: Callable[..., Tensor]) -> None:
    @op(name, layout=AxisPolicy.VALUES)
    def cumulative(ctx: Context, x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
        flags = {"exclusive": bool(exclusive), "reverse": bool(reverse)}
        if axis.array is None:
            return ctx.value(compute(x.tensor, tf.reshape(axis.tensor, []), **flags))
        order = x.order or identity(len(x.shape))
        storage_axis = order.index(int(axis.array.reshape(-1)[0]) % len(order))
        return ctx.value(compute(x.stored, storage_axis, **flags), x.order)


_register_cumulative("CumSum", in_single(tf.cumsum))
_register_cumulative("CumProd", in_single(tf.math.cumprod))
