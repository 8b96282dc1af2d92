"""Operators whose result depends on the values in a tensor, like Unique and Compress; and a few small ones.

https://onnx.ai/onnx/operators/onnx__Unique.html, https://onnx.ai/onnx/operators/onnx__Compress.html
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.context import Context
from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor, transpose
from bundler.converters.native.value import Value
from bundler.converters.native.zero_sizes import at_least_one, cut


@op("Compress", layout=AxisPolicy.VALUES)
def compress(ctx: Context, x: Value, condition: Value, *, axis: int | None = None) -> Value:
    """Lower Compress: the slices along `axis` where the condition, which may be shorter, holds.

    Without an axis, the elements of the flattened tensor.
    """
    data = tf.reshape(x.tensor, [-1]) if axis is None else x.tensor
    indices = tf.reshape(tf.where(condition.tensor), [-1])
    return ctx.value(tf.gather(data, indices, axis=0 if axis is None else axis % len(x.shape)))


@op("Unique", layout=AxisPolicy.VALUES, since=11)
def unique(ctx: Context, x: Value, *, axis: int | None = None, sorted: int = 1) -> list[Value]:
    """Lower Unique: the distinct elements or slices, their first positions, the inverse, and their counts."""
    data = tf.reshape(x.tensor, [-1]) if axis is None else x.tensor
    place = 0 if axis is None else axis % len(x.shape)
    wide = tf.cast(data, tf.float32) if data.dtype in (tf.bfloat16, tf.float16) else data
    result = tf.raw_ops.UniqueWithCountsV2(x=wide, axis=tf.constant([place], tf.int64), out_idx=tf.int64)
    distinct, inverse, counts = result.y, result.idx, result.count
    number = tf.shape(counts, out_type=tf.int64)[0]
    total = tf.shape(inverse, out_type=tf.int64)[0]
    first = tf.math.unsorted_segment_min(tf.range(total), inverse, number)
    if sorted:
        order = _sorted_slices(distinct, place)
        distinct, first, counts = tf.gather(distinct, order, axis=place), tf.gather(first, order), tf.gather(counts, order)
        inverse = tf.gather(tf.math.invert_permutation(order), inverse)
    return [ctx.value(t) for t in (tf.cast(distinct, data.dtype), first, inverse, counts)]


def _sorted_slices(x: Tensor, axis: int) -> Tensor:
    """Return the order that sorts the slices along `axis` lexicographically: stably, by their last element first."""
    x = tf.cast(x, tf.int32) if x.dtype == tf.bool else x
    rows = tf.reshape(transpose(x, [axis, *(a for a in range(x.shape.rank) if a != axis)]), [tf.shape(x)[axis], -1])
    if x.dtype == tf.string:
        raise ValueError("TensorFlow cannot sort strings; use sorted=0")
    start = tf.range(tf.shape(rows)[0])

    def by_column(step: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        column = tf.gather(rows[:, tf.shape(rows)[1] - 1 - step], order)
        return step + 1, tf.gather(order, tf.argsort(column, stable=True))

    _, order = tf.while_loop(lambda step, _: step < tf.shape(rows)[1], by_column, [tf.constant(0), start])
    return tf.cast(tf.ensure_shape(order, [None]), tf.int64)


@op("ReverseSequence", since=10)
def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Lower ReverseSequence: each sequence reversed within its own length."""
    if not ranks.exceeds(x, ranks.MOST_AXES["serving"]):
        return tf.reverse_sequence(x, lengths, seq_axis=time_axis, batch_axis=batch_axis)
    time, batch = time_axis % x.shape.rank, batch_axis % x.shape.rank
    view, places, sizes = ranks.merged(x, [time, batch])
    return ranks.reshaped(tf.reverse_sequence(view, lengths, seq_axis=places[time], batch_axis=places[batch]), sizes)


@op("TensorScatter", layout=AxisPolicy.VALUES, since=24)
def tensor_scatter(
    ctx: Context, past: Value, update: Value, write_indices: Value | None = None, *, axis: int = -2, mode: str = "linear"
) -> Value:
    """Lower TensorScatter: write `update` into a cache along `axis`, in each batch row from its own index on."""
    rank = len(past.shape)
    axis = axis % rank
    order = (0, axis, *(a for a in range(1, rank) if a != axis))
    cache, new = past.in_order(order), update.in_order(order)
    batch, length = tf.shape(new)[0], tf.shape(new)[1]
    start = tf.zeros([batch], tf.int32) if write_indices is None else tf.cast(write_indices.tensor, tf.int32)
    positions = start[:, None] + tf.range(length)[None]
    if mode == "circular":
        positions = tf.math.floormod(positions, tf.shape(cache)[1])
    rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(positions))
    inner = range(2, rank)
    filled, rest = at_least_one(cache, inner), at_least_one(new, inner)
    written = tf.tensor_scatter_nd_update(filled, tf.stack([rows, positions], -1), rest)
    return ctx.value(written if filled is cache else cut(written, tf.shape(cache)), order)


@op("EyeLike")
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Lower EyeLike: ones on diagonal k of a matrix of the shape of x."""
    kind = x.dtype if dtype is None else tensor_dtype(dtype)
    rows, columns = tf.range(tf.shape(x)[0]), tf.range(tf.shape(x)[1])
    return tf.cast(tf.equal(columns[None] - rows[:, None], k), kind)


@op("Det")
def det(x: Tensor) -> Tensor:
    """Lower Det: the determinant of the matrices in the last two axes."""
    return tf.linalg.det(x)
