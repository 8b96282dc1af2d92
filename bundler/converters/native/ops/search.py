"""What depends on the values in a tensor: Unique, Compress, and other picks whose number is known only at run time."""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.value import Tensor, Value


@op("Compress", layout=AxisPolicy.VALUES)
def compress(ctx: Context, x: Value, condition: Value, *, axis: int | None = None) -> Value:
    """The slices along `axis` (of the flattened tensor without one) where the condition holds; it may be shorter."""
    data = tf.reshape(x.tensor, [-1]) if axis is None else x.tensor
    places = tf.reshape(tf.where(condition.tensor), [-1])
    return ctx.value(tf.gather(data, places, axis=0 if axis is None else axis % len(x.shape)))


@op("Unique", layout=AxisPolicy.VALUES, since=11)
def unique(ctx: Context, x: Value, *, axis: int | None = None, sorted: int = 1) -> list[Value]:
    """Distinct elements or slices -> them, where each was first, which one each element is, and how often it occurs."""
    data = tf.reshape(x.tensor, [-1]) if axis is None else x.tensor
    place = 0 if axis is None else axis % len(x.shape)
    wide = tf.cast(data, tf.float32) if data.dtype in (tf.bfloat16, tf.float16) else data
    found = tf.raw_ops.UniqueWithCountsV2(x=wide, axis=tf.constant([place], tf.int64), out_idx=tf.int64)
    distinct, inverse, counts = found.y, found.idx, found.count
    number = tf.shape(counts, out_type=tf.int64)[0]
    total = tf.shape(inverse, out_type=tf.int64)[0]
    first = tf.math.unsorted_segment_min(tf.range(total), inverse, number)
    if sorted:
        order = _sorted_slices(distinct, place)
        distinct, first, counts = tf.gather(distinct, order, axis=place), tf.gather(first, order), tf.gather(counts, order)
        inverse = tf.gather(tf.math.invert_permutation(order), inverse)
    return [ctx.value(t) for t in (tf.cast(distinct, data.dtype), first, inverse, counts)]


def _sorted_slices(x: Tensor, axis: int) -> Tensor:
    """The order of the slices along `axis` that sorts them lexicographically: by their last element first, stably."""
    rows = tf.reshape(tf.transpose(x, [axis, *(a for a in range(x.shape.rank) if a != axis)]), [tf.shape(x)[axis], -1])
    if x.dtype == tf.string:
        raise ValueError("TensorFlow has no order of strings; use sorted=0")
    start = tf.range(tf.shape(rows)[0])

    def by_column(step: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        column = tf.gather(rows[:, tf.shape(rows)[1] - 1 - step], order)
        return step + 1, tf.gather(order, tf.argsort(column, stable=True))

    _, order = tf.while_loop(lambda step, _: step < tf.shape(rows)[1], by_column, [tf.constant(0), start])
    return tf.cast(tf.ensure_shape(order, [None]), tf.int64)


@op("ReverseSequence", since=10)
def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    return tf.reverse_sequence(x, lengths, seq_axis=time_axis, batch_axis=batch_axis)


@op("TensorScatter", layout=AxisPolicy.VALUES, since=24)
def tensor_scatter(
    ctx: Context, past: Value, update: Value, write_indices: Value | None = None, *, axis: int = -2, mode: str = "linear"
) -> Value:
    """A cache with `update` written into it along `axis`, for each of the batch from its own index on."""
    rank = len(past.shape)
    axis = axis % rank
    order = (0, axis, *(a for a in range(1, rank) if a != axis))
    cache, new = past.in_order(order), update.in_order(order)
    batch, length = tf.shape(new)[0], tf.shape(new)[1]
    start = tf.zeros([batch], tf.int32) if write_indices is None else tf.cast(write_indices.tensor, tf.int32)
    places = start[:, None] + tf.range(length)[None]
    if mode == "circular":
        places = tf.math.floormod(places, tf.shape(cache)[1])
    rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(places))
    return ctx.value(tf.tensor_scatter_nd_update(cache, tf.stack([rows, places], -1), new), order)


@op("EyeLike")
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Ones on the diagonal k of a matrix of x's size."""
    kind = x.dtype if dtype is None else tensor_dtype(dtype)
    rows, columns = tf.range(tf.shape(x)[0]), tf.range(tf.shape(x)[1])
    return tf.cast(tf.equal(columns[None] - rows[:, None], k), kind)


@op("Det")
def det(x: Tensor) -> Tensor:
    return tf.linalg.det(x)
