"""Views: reshapes, transposes, concatenations and slices. Most only change what is known about a tensor, not its data.

https://onnx.ai/onnx/operators/onnx__Reshape.html, https://onnx.ai/onnx/operators/onnx__Slice.html
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.context import Context
from bundler.converters.native.dims import (
    Dim,
    Element,
    divide,
    from_sizes,
    full_shape,
    larger,
    multiply,
    product,
    subtract,
    tensor_of,
    tensor_shape,
)  # fmt: skip
from bundler.converters.native.layouts import by_axis, known_rank
from bundler.converters.native.nodes import dim_names_of
from bundler.converters.native.ops.moves import offer_move
from bundler.converters.native.ops.reorder import reshaped_order
from bundler.converters.native.orders import Order, identity
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.converters.native.zero_sizes import cut
from bundler.values.arrays import Array


@op("Constant")
def constant(
    ctx: Context, *, value: Array | None = None, value_float: float | None = None,
    value_floats: Sequence[float] | None = None, value_int: int | None = None, value_ints: Sequence[int] | None = None,
    value_string: str | None = None, value_strings: Sequence[str] | None = None,
) -> Value:  # fmt: skip
    """Lower Constant: the value of its attribute."""
    if value is not None:
        return ctx.constant(value)
    if value_float is not None or value_floats is not None:
        return ctx.constant(np.array(value_float if value_float is not None else value_floats, np.float32))
    if value_int is not None or value_ints is not None:
        return ctx.constant(np.array(value_int if value_int is not None else value_ints, np.int64))
    if value_string is not None or value_strings is not None:
        return ctx.constant(np.array(value_string if value_string is not None else value_strings, object))
    raise ctx.reject("Constant has a value that TensorFlow cannot hold (a sparse tensor?).")


@op("Shape", layout=AxisPolicy.VALUES)
def shape(ctx: Context, x: Value, *, start: int = 0, end: int | None = None) -> Value:
    """Lower Shape: the sizes, known ones as Python ints."""
    if x.rank is None:
        return ctx.value(tf.shape(x.tensor, out_type=tf.int64)[start:end])
    return Value.vector(ctx.sizes(x)[start:end], ctx.store)


@op("Size", layout=AxisPolicy.VALUES)
def size(ctx: Context, x: Value) -> Value:
    """Lower Size: the number of elements."""
    return Value.vector(product(ctx.sizes(x)), ctx.store)


@op("Reshape", layout=AxisPolicy.VALUES)
def reshape(ctx: Context, x: Value, target: Value, *, allowzero: int = 0) -> Value:
    """Lower Reshape; 0 and -1 are resolved at build time as far as possible."""
    elements = target.elements
    if elements is None or x.rank is None:
        return _reshape_dynamic(ctx, x, target, bool(allowzero))
    sizes = resolve_target(ctx, x, elements, bool(allowzero))
    rows = _declared_rows(ctx, x, elements, sizes)
    return view(ctx, x, sizes) if rows is None else view(ctx, x, rows, exact=True)


def resolve_target(ctx: Context, x: Value, elements: Sequence[Element], allowzero: bool) -> list[Element]:
    """Return the target sizes with 0 (keep) and -1 (the rest) resolved as far as possible."""
    sizes: list[Element] = ctx.sizes(x)
    target = [sizes[i] if e == 0 and not allowzero else e for i, e in enumerate(elements)]
    if -1 not in target:
        return target
    rest = _remaining(sizes, [e for e in target if e != -1])
    if rest is None:
        rest = _declared_size(ctx, target.index(-1))
    return target if rest is None else [rest if e == -1 else e for e in target]


def _remaining(sizes: Sequence[Element], others: Sequence[Element]) -> Element | None:
    """Return what -1 stands for, all sizes divided by the other targets; None if a dynamic target does not cancel."""
    remaining = list(sizes)
    for other in others:
        if isinstance(other, Dim) and other in remaining:
            remaining.remove(other)
        elif isinstance(other, Dim):
            return None
    dynamic = [e for e in remaining if isinstance(e, Dim)]
    fixed = product([e for e in remaining if isinstance(e, int)])
    divisor = product([e for e in others if isinstance(e, int)])
    if not isinstance(fixed, int) or not isinstance(divisor, int) or divisor == 0:
        return None
    if not dynamic:
        return fixed // divisor
    if len(dynamic) == 1 and fixed == divisor:
        return dynamic[0]
    if fixed % divisor == 0:
        return product([*dynamic, fixed // divisor])
    return divide(product([*dynamic, fixed]), divisor)


def _declared_size(ctx: Context, axis: int) -> int | None:
    """Return the size that the graph declares for an axis of the node's output; if it is wrong, TensorFlow's reshape fails."""
    declared = ctx.node.outputs[0].shape if ctx.node is not None else None
    size = declared[axis] if declared is not None and len(declared) > axis else None
    return size if isinstance(size, int) else None


def _declared_rows(
    ctx: Context, x: Value, elements: Sequence[Element], sizes: Sequence[Element]
) -> list[Element] | None:
    """Return the target with the dim that the graph declares in place of -1, if a reshape to -1 could regroup rows.

    From [batch, seq, 8], a Reshape to [-1, 64] answers any seq whose rows fill 64 numbers together. If the graph declares the
    result as [batch, 64], only seq = 8 is right, and a reshape to [batch, 64] refuses all others.

    `elements` is the node's target, `sizes` the target as `resolve_target` returns it.

    Returns:
        None if the size of -1 follows from the sizes of x, or if the declared dim is not one of x.
    """
    if list(elements).count(-1) != 1 or ctx.node is None:
        return None
    axis = list(elements).index(-1)
    names = dim_names_of(ctx.node.outputs[0]) or ()
    name = names[axis] if axis < len(names) else None
    own, dim = ctx.sizes(x), ctx.dims.get(name or "")
    if dim is None or dim not in own or sizes[axis] == dim:
        return None
    fixed = product([size for size in own if isinstance(size, int)])
    divisor = product([size for size in sizes if isinstance(size, int) and size != -1])
    if not (isinstance(fixed, int) and isinstance(divisor, int) and fixed and divisor > fixed and divisor % fixed == 0):
        return None  # the declaration holds for one size of the other dims at most, so it may be wrong
    return [dim if at == axis else size for at, size in enumerate(sizes)]


def view(ctx: Context, x: Value, target: list[Element], *, exact: bool = False) -> Value:
    """Reshape x; it keeps its storage order unless the reshape merges axes that are stored apart.

    If `exact` is set, the reshape checks a single dynamic size in place of computing it.
    """
    shape_of = full_shape if exact else partial(tensor_shape, infer=ctx.target == "tflite")
    sizes = ctx.sizes(x)
    if target == sizes:
        return x
    if x.array is not None and all(isinstance(e, int) for e in target):
        return ctx.constant(x.array.reshape([e for e in target if isinstance(e, int)]))
    order = reshaped_order(sizes, target, x.order) if x.order is not None else None
    result = (
        ctx.value(tf.reshape(x.stored, shape_of([target[axis] for axis in order])), order)
        if order is not None
        else ctx.value(tf.reshape(x.tensor, shape_of(target)))
    )
    result.non_negative = x.non_negative
    return _with_dims(ctx, result, target)


def _with_dims(ctx: Context, value: Value, sizes: Sequence[Element]) -> Value:
    """Give the value the names of its dynamic sizes, by which they are recognised later."""
    value.dim_names = tuple(e.name if isinstance(e, Dim) else None for e in sizes)
    ctx.dims.update({e.name: e for e in sizes if isinstance(e, Dim)})
    return value


def _reshape_dynamic(ctx: Context, x: Value, target: Value, allowzero: bool) -> Value:
    """Reshape x to a target that is computed at run time."""
    sizes = tf.cast(target.tensor, tf.int64)
    if not allowzero:
        length = sizes.shape[0]
        current = tf.shape(x.tensor, out_type=tf.int64)
        padded = tf.concat([current, tf.zeros_like(sizes)], 0)
        padded = padded[:length] if length is not None else padded[: tf.shape(sizes)[0]]
        sizes = tf.where(sizes == 0, padded, sizes)
    return ctx.value(tf.reshape(x.tensor, sizes))


@op("Flatten", layout=AxisPolicy.VALUES)
def flatten(ctx: Context, x: Value, *, axis: int = 1) -> Value:
    """Lower Flatten: two axes, split before `axis`."""
    sizes = ctx.sizes(x)
    axis = axis + len(sizes) if axis < 0 else axis
    return view(ctx, x, [product(sizes[:axis]), product(sizes[axis:])])


@op("Transpose", layout=AxisPolicy.VALUES)
def transpose(ctx: Context, x: Value, *, perm: Sequence[int] | None = None) -> Value:
    """Lower Transpose: only the order changes.

    Storage axis s holds axis order[s] of x, which is axis perm.index(order[s]) of the result.
    """
    rank = len(x.shape)
    permutation = list(perm) if perm is not None else list(reversed(range(rank)))
    if x.array is not None:
        return ctx.constant(x.array.transpose(permutation))
    order = tuple(permutation.index(axis) for axis in (x.order or identity(rank)))
    result = ctx.value(x.stored, order)
    result.non_negative = x.non_negative
    result.dim_names = tuple(x.dim_names[axis] for axis in permutation) if x.dim_names else None
    offer_move(ctx, result)
    return result


@op("Squeeze", layout=AxisPolicy.VALUES, since=13)
def squeeze(ctx: Context, x: Value, axes: Value | None = None) -> Value:
    """Lower Squeeze: remove axes of size 1."""
    rank = len(x.shape)
    if axes is not None and axes.array is None:
        return ctx.value(_squeezed(x.tensor, axes))
    if axes is None:
        if None in x.shape:
            return ctx.value(tf.squeeze(x.tensor))  # which axes have size 1, and so the rank, is known only at run time
        removed = [a for a, n in enumerate(x.shape) if n == 1]
    else:
        removed = [int(a) % rank for a in _constant(axes).reshape(-1)]
    if x.array is not None:
        return ctx.constant(np.squeeze(x.array, tuple(removed)))
    order = x.order or identity(rank)
    stored = tf.squeeze(x.stored, [order.index(a) for a in removed]) if removed else x.stored
    return ctx.value(stored, drop_axes(order, removed))


def drop_axes(order: Order, removed: Sequence[int]) -> Order:
    """Return the storage order after ONNX axes are removed."""
    remaining = [axis for axis in order if axis not in removed]
    return tuple(sorted(remaining).index(axis) for axis in remaining)


def _constant(value: Value) -> Array:
    assert value.array is not None
    return value.array


def _squeezed(x: Tensor, axes: Value) -> Tensor:
    """Remove axes that are known only at run time; their number gives the rank."""
    rank = x.shape.rank
    removed = tf.math.floormod(tf.cast(axes.tensor, tf.int32), rank)
    remains = tf.reduce_all(tf.not_equal(tf.range(rank)[:, None], removed[None]), 1)
    result = tf.reshape(x, tf.boolean_mask(tf.shape(x), remains))
    return result if axes.shape[0] is None else tf.ensure_shape(result, [None] * (rank - axes.shape[0]))


def _unsqueezed(x: Tensor, axes: Value) -> Tensor:
    """Add axes that are known only at run time."""
    count = axes.shape[0] if axes.shape else 1
    rank = x.shape.rank + (tf.size(axes.tensor) if count is None else count)
    added = tf.math.floormod(tf.cast(tf.reshape(axes.tensor, [-1]), tf.int32), rank)
    is_new = tf.reduce_any(tf.equal(tf.range(rank)[:, None], added[None]), 1)
    source = tf.maximum(tf.cumsum(tf.cast(tf.logical_not(is_new), tf.int32)) - 1, 0)
    sizes = tf.where(is_new, 1, tf.gather(tf.concat([tf.shape(x), [1]], 0), source))
    result = tf.reshape(x, sizes)
    return result if count is None else tf.ensure_shape(result, [None] * rank)


@op("Unsqueeze", layout=AxisPolicy.VALUES, since=13)
def unsqueeze(ctx: Context, x: Value, axes: Value) -> Value:
    """Lower Unsqueeze: insert axes of size 1.

    A new axis has size 1, so it can have any position in storage. It goes before the axis that follows it in ONNX's order,
    where a reshape that splits that axis would put it too.
    """
    if axes.array is None:
        return ctx.value(_unsqueezed(x.tensor, axes))
    rank = len(x.shape) + axes.array.size
    added = sorted(int(a) % rank for a in axes.array.reshape(-1))
    existing = [axis for axis in range(rank) if axis not in added]
    order, stored = [existing[axis] for axis in x.order or identity(len(existing))], x.stored
    for axis in reversed(added):
        is_followed = axis + 1 in order
        position = order.index(axis + 1) if is_followed else order.index(max(order)) + 1 if order else 0
        order.insert(position, axis)
        stored = tf.expand_dims(stored, position)
    result = ctx.value(stored, tuple(order))
    result.non_negative = x.non_negative
    return result


@op("Concat", layout=AxisPolicy.VALUES)
def concat(ctx: Context, *values: Value, axis: int) -> Value:
    """Lower Concat, in the order in which the operands are stored."""
    if len(values) == 1:
        return values[0]
    operands = by_axis(values, {"axis": axis})
    place = operands.attributes["axis"] % known_rank(values[0]) if values[0].rank is not None else axis
    result = ctx.value(ranks.concatenated(operands.tensors, place, ctx.target), operands.order)
    result.non_negative = all(value.non_negative for value in values)
    if axis == 1:
        result.parts = values
    return result


@op("Split", layout=AxisPolicy.VALUES, since=13)
def split(
    ctx: Context, x: Value, split: Value | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> list[Value]:
    """Lower Split; without sizes, into equal parts, of which the last may be smaller (since opset 18)."""
    axis = axis % len(x.shape)
    storage_axis = axis if x.order is None else x.order.index(axis)
    count = num_outputs or (len(ctx.node.outputs) if ctx.node is not None else 1)
    if split is not None and split.array is None:
        parts = tf.split(x.stored, split.tensor, storage_axis, num=count)
    elif split is not None:
        parts = tf.split(x.stored, [int(n) for n in _constant(split)], storage_axis)
    else:
        sizes = _equal_parts(ctx.dim(x, axis), count)
        parts = tf.split(x.stored, full_shape(sizes), storage_axis, num=count)
    return [ctx.value(part, x.order) for part in parts]


def _equal_parts(length: Element, count: int) -> list[Element]:
    """Return the sizes of equal parts, of which the last one is smaller if need be."""
    chunk = from_sizes(f"part_{count}", lambda n: -(-n // count), length)
    rests = [subtract(length, multiply(chunk, number)) for number in range(count)]
    return [from_sizes("size", lambda rest, part: larger(-larger(-rest, -part), 0), rest, chunk) for rest in rests]


@op("Expand", layout=AxisPolicy.VALUES)
def expand(ctx: Context, x: Value, target: Value) -> Value:
    """Lower Expand; a single number becomes a filling."""
    elements = target.elements
    if elements is None or x.rank is None:
        common = tf.broadcast_dynamic_shape(tf.shape(x.tensor, out_type=tf.int64), tf.cast(target.tensor, tf.int64))
        if x.rank is None or (common.shape[0] or 0) <= ranks.MOST_AXES[ctx.target]:
            return ctx.value(tf.broadcast_to(x.tensor, common))
        return ctx.value(ranks.broadcast_to(x.tensor, tf.unstack(common), ctx.target))
    sizes = ctx.sizes(x)
    rank = max(len(sizes), len(elements))
    current = [1] * (rank - len(sizes)) + sizes
    wanted = [1] * (rank - len(elements)) + list(elements)
    final = [_broadcast(a, b) for a, b in zip(current, wanted, strict=True)]
    if final == sizes:
        return x
    if x.array is not None and x.array.size == 1 and x.array.dtype.kind in "biufcV":
        return _with_dims(ctx, Value.filled(x.array, final, ctx.store), final)
    result = ctx.value(ranks.broadcast_to(x.tensor, [e if isinstance(e, int) else e.tensor for e in final], ctx.target))
    result.non_negative = x.non_negative
    return result


def _broadcast(a: Element, b: Element) -> Element:
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, int) and isinstance(b, int):
        raise ValueError(f"the sizes {a} and {b} do not broadcast")
    if isinstance(a, int) or isinstance(b, int):
        # The dynamic size is 1 or equal to the known one, which is the result.
        return a if isinstance(a, int) else b
    return Dim(f"max({a.name},{b.name})", lambda: tf.maximum(tensor_of(a), tensor_of(b)))


@op("Tile", layout=AxisPolicy.VALUES)
def tile(ctx: Context, x: Value, repeats: Value) -> Value:
    """Lower Tile: repeat x along each axis."""
    if repeats.array is None:
        return ctx.value(_tiled(x.tensor, repeats.tensor))
    counts = [int(n) for n in repeats.array]
    order = x.order or identity(len(counts))
    return ctx.value(_tiled(x.stored, [counts[axis] for axis in order]), x.order)


def _tiled(x: Tensor, counts: Any) -> Tensor:
    """Repeat x along each axis; TensorFlow has no kernel for uint16."""
    return tf.cast(tf.tile(tf.cast(x, tf.int32), counts), x.dtype) if x.dtype == tf.uint16 else tf.tile(x, counts)


@op("ConstantOfShape", layout=AxisPolicy.VALUES)
def constant_of_shape(ctx: Context, target: Value, *, value: Array | None = None) -> Value:
    """Lower ConstantOfShape: one number everywhere, made in whichever order is needed."""
    fill = np.zeros(1, np.float32) if value is None else value
    elements = target.elements
    if elements is not None:
        return _with_dims(ctx, Value.filled(fill, elements, ctx.store), elements)
    return ctx.value(tf.fill(target.tensor, tf.constant(fill.reshape(()), dtype=tf.as_dtype(fill.dtype))))


@op("Range", layout=AxisPolicy.VALUES)
def range_(ctx: Context, start: Value, limit: Value, delta: Value) -> Value:
    """Lower Range: the numbers from start to limit (exclusive) in steps of delta."""
    first, end, step = (v.tensor if v.rank == 0 else tf.reshape(v.tensor, []) for v in (start, limit, delta))
    if not all(v.is_constant for v in (start, limit, delta)):
        # TensorFlow refuses an interval that the step does not lead through; ONNX gives no number
        end = tf.where(step > 0, tf.maximum(first, end), tf.minimum(first, end))
    result = ctx.value(tf.range(first, end, step))
    result.non_negative = all(v.array is not None and v.array >= 0 for v in (start, delta))
    return result


@op("Slice", layout=AxisPolicy.VALUES, since=10)
def slice_(
    ctx: Context, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Value:
    """Lower Slice; if its axes and steps are known, x keeps its storage order."""
    rank = len(x.shape)
    if (axes is not None and axes.array is None) or (steps is not None and steps.array is None) or _has_any_length(starts, ends):
        return ctx.value(_sliced(ctx, x.tensor, starts, ends, axes, steps))
    numbers = [int(a) % rank for a in axes.array.reshape(-1)] if axes is not None and axes.array is not None else None
    begin, end = _bounds(starts), _bounds(ends)
    step = [1] * len(begin) if steps is None else [int(n) for n in _constant(steps).reshape(-1)]
    order = x.order or identity(rank)
    slices: list[slice] = [slice(None)] * rank
    for i, axis in enumerate(numbers if numbers is not None else range(len(begin))):
        slices[order.index(axis)] = _one_slice(begin[i], end[i], step[i])
    sizes = [size for size in x.shape if size is not None]
    if x.filling is not None and len(sizes) == rank and _are_known(slices):
        return Value.filled(x.filling, np.broadcast_to(x.filling, sizes)[tuple(slices)].shape, ctx.store)
    result = ctx.value(ranks.sliced(x.stored, slices, ctx.target), x.order)
    result.non_negative = x.non_negative
    return result


def _has_any_length(starts: Value, ends: Value) -> bool:
    """Whether the number of sliced axes is known only at run time."""
    return any(v.elements is None and v.rank != 0 and (v.rank is None or v.shape[0] is None) for v in (starts, ends))


def _are_known(slices: Sequence[slice]) -> bool:
    return not any(tf.is_tensor(bound) for s in slices for bound in (s.start, s.stop))


def _sliced(
    ctx: Context, x: Tensor, starts: Value, ends: Value, axes: Value | None, steps: Value | None
) -> Tensor:
    """Slice along axes, or by steps, that are known only at run time."""
    rank = x.shape.rank
    first, last = tf.cast(starts.tensor, tf.int64), tf.cast(ends.tensor, tf.int64)
    sliced = tf.range(tf.shape(first)[0]) if axes is None else tf.cast(axes.tensor, tf.int32)
    place = tf.math.floormod(sliced, rank)[:, None]
    begin = tf.tensor_scatter_nd_update(tf.zeros([rank], tf.int64), place, first)
    end = tf.tensor_scatter_nd_update(tf.shape(x, out_type=tf.int64), place, last)
    stride = tf.ones([rank], tf.int64)
    if steps is not None:
        stride = tf.tensor_scatter_nd_update(stride, place, tf.cast(steps.tensor, tf.int64))
    if rank <= ranks.SLICE_AXES[ctx.target]:
        return tf.ensure_shape(tf.strided_slice(x, begin, end, stride), [None] * rank)
    return ranks.sliced(x, [slice(begin[a], end[a], stride[a]) for a in range(rank)], ctx.target)


def _bounds(value: Value) -> list[int | Tensor]:
    """Return one bound per axis: an int if it is known at build time, otherwise an int64 scalar."""
    if value.elements is not None:
        return [e.tensor if isinstance(e, Dim) else e for e in value.elements]
    count = (value.shape[0] or 0) if value.shape else 1
    flat = tf.reshape(tf.cast(value.tensor, tf.int64), [count])
    return [flat[i] for i in range(count)]


_TO_THE_END = 2**31 - 1
"""A bound of at least this (ONNX writes INT32_MAX or INT64_MAX) lies beyond the end of any axis."""


def _one_slice(start: int | Tensor, end: int | Tensor, step: int) -> slice:
    if isinstance(start, int) and abs(start) >= _TO_THE_END:
        start = None if (start < 0) == (step > 0) else start
    if isinstance(start, int) and start >= _TO_THE_END:
        return slice(0, 0, step)
    if isinstance(end, int) and abs(end) >= _TO_THE_END:
        if (end > 0) == (step > 0):
            end = None
        else:
            return slice(0, 0, step)
    return slice(start, end, None if step == 1 else step)


@op("Pad", layout=AxisPolicy.VALUES, since=11)
def pad(
    ctx: Context, x: Value, pads: Value, value: Value | None = None, axes: Value | None = None, *,
    mode: str = "constant",
) -> Value:  # fmt: skip
    """Lower Pad; negative pads crop."""
    rank = len(x.shape)
    if pads.array is None or (axes is not None and axes.array is None):
        return ctx.value(_padded_at_run_time(ctx, x.tensor, pads, value, axes, mode))
    padded = [int(a) % rank for a in _constant(axes)] if axes is not None else list(range(rank))
    flat = [int(p) for p in pads.array]
    pairs = [[0, 0] for _ in range(rank)]
    for position, axis in enumerate(padded):
        pairs[axis] = [flat[position], flat[position + len(padded)]]
    order = x.order or identity(rank)
    stored = [pairs[axis] for axis in order]
    data = x.stored
    if any(p < 0 for pair in stored for p in pair):
        crops = [slice(max(-b, 0) or None, min(e, 0) or None) for b, e in stored]
        data = ranks.sliced(data, crops, ctx.target)
        stored = [[max(b, 0), max(e, 0)] for b, e in stored]
    if not any(p for pair in stored for p in pair):
        return ctx.value(data, x.order)
    return ctx.value(_padded(ctx, data, stored, mode, value), x.order)


def _padded_at_run_time(
    ctx: Context, x: Tensor, pads: Value, value: Value | None, axes: Value | None, mode: str
) -> Tensor:
    """Pad along axes, or by numbers, that are known only at run time."""
    rank = x.shape.rank
    pairs = tf.transpose(tf.reshape(tf.cast(pads.tensor, tf.int32), [2, -1]))
    if axes is not None:
        place = tf.math.floormod(tf.cast(axes.tensor, tf.int32), rank)[:, None]
        pairs = tf.tensor_scatter_nd_update(tf.zeros([rank, 2], tf.int32), place, pairs)
    crop = tf.maximum(-pairs, 0)
    if rank <= ranks.SLICE_AXES[ctx.target]:
        x = tf.slice(x, crop[:, 0], tf.shape(x) - crop[:, 0] - crop[:, 1])
    else:
        x = ranks.sliced(x, [slice(crop[a, 0], tf.shape(x)[a] - crop[a, 1]) for a in range(rank)], ctx.target)
    pairs = tf.ensure_shape(tf.maximum(pairs, 0), [rank, 2])
    if mode in ("constant", "reflect"):
        return _padded(ctx, x, pairs, mode, value)
    return _padded(ctx, x, [[pairs[a, 0], pairs[a, 1]] for a in range(rank)], mode, value)


def _reflected(ctx: Context, data: Tensor, pairs: Any) -> Tensor:
    """Mirror the data at their borders.

    TensorFlow refuses an empty axis even where nothing is added to it. Such an axis gets an element, and loses it afterwards.
    """
    known = None if tf.is_tensor(pairs) else pairs
    if ctx.target == "tflite" or all(size or (known and any(known[axis])) for axis, size in enumerate(data.shape)):
        return ranks.padded(data, pairs, ctx.target, "REFLECT")
    added = tf.reduce_sum(tf.cast(pairs, tf.int32), 1)
    sizes = tf.shape(data)
    missing = tf.cast(tf.logical_and(tf.equal(sizes, 0), tf.equal(added, 0)), tf.int32)
    filled = tf.pad(data, tf.stack([tf.zeros_like(missing), missing], 1))
    result = cut(ranks.padded(filled, pairs, ctx.target, "REFLECT"), sizes + added)
    static = [None if size is None or known is None else size + sum(known[a]) for a, size in enumerate(data.shape)]
    return tf.ensure_shape(result, static)


def _padded(ctx: Context, data: Tensor, pairs: Any, mode: str, value: Value | None) -> Tensor:
    if mode == "constant":
        fill = 0 if value is None else tf.reshape(value.tensor, [])
        return ranks.padded(data, pairs, ctx.target, value=fill)
    if mode == "reflect":
        return _reflected(ctx, data, pairs)
    if mode not in ("edge", "wrap"):
        raise ctx.reject(f"Pad has the mode {mode!r}, which is not defined by ONNX.")
    for axis, (begin, end) in enumerate(pairs):
        if tf.is_tensor(begin) or begin or end:
            length = data.shape[axis] or tf.shape(data)[axis]
            index = tf.range(-begin, length + end)
            index = tf.clip_by_value(index, 0, length - 1) if mode == "edge" else tf.math.floormod(index, length)
            data = tf.gather(data, index, axis=axis)
    return data
