"""Sequences and optionals: Python lists while the graph is lowered; the result has only their tensors.

https://onnx.ai/onnx/operators/onnx__SequenceAt.html, https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.sequence import EmptyOptional, SequenceValue
from bundler.converters.native.value import Value

V = AxisPolicy.VALUES


def _items(ctx: Context, sequence: Value) -> tuple[Value, ...]:
    if not isinstance(sequence, SequenceValue):
        raise ctx.reject(f"{ctx.node.op_type if ctx.node else 'The node'} needs a sequence, but is given a tensor.")
    return sequence.items


@op("SequenceConstruct", layout=V)
def sequence_construct(ctx: Context, *inputs: Value) -> Value:
    """Lower SequenceConstruct: a sequence of the inputs."""
    return SequenceValue(inputs, ctx.store)


@op("SequenceEmpty", layout=V)
def sequence_empty(ctx: Context, *, dtype: int = 1) -> Value:
    """Lower SequenceEmpty: a sequence without elements."""
    return SequenceValue((), ctx.store)


@op("SequenceInsert", layout=V)
def sequence_insert(ctx: Context, sequence: Value, tensor: Value, position: Value | None = None) -> Value:
    """Lower SequenceInsert: a sequence with one more element, at the end if there is no position."""
    items = list(_items(ctx, sequence))
    if position is not None and position.array is None:
        return _inserted_at_run_time(ctx, items, tensor, position)
    items.insert(len(items) if position is None else int(_constant(position)), tensor)
    return SequenceValue(items, ctx.store)


def _inserted_at_run_time(ctx: Context, items: list[Value], new: Value, position: Value) -> Value:
    """Choose at run time which element each place of the result holds: one of two old ones, or the new one."""
    count = len(items)
    index = tf.cast(tf.reshape(position.tensor, []), tf.int32)
    index = tf.where(index < 0, index + count, index)
    results = []
    for place in range(count + 1):
        before = items[place] if place < count else new
        after = items[place - 1] if place > 0 else new
        choices = [before.tensor, new.tensor, after.tensor]
        element = tf.switch_case(tf.sign(place - index) + 1, [lambda t=t: tf.identity(t) for t in choices])
        results.append(ctx.value(element))
    return SequenceValue(results, ctx.store)


def _constant(position: Value) -> Any:
    assert position.array is not None
    return position.array.reshape(-1)[0]


@op("SequenceErase", layout=V)
def sequence_erase(ctx: Context, sequence: Value, position: Value | None = None) -> Value:
    """Lower SequenceErase: a sequence without one element, the last if there is no position."""
    items = list(_items(ctx, sequence))
    if position is not None and position.array is None:
        raise ctx.reject("SequenceErase needs its position to be known at build time.")
    del items[-1 if position is None else int(_constant(position))]
    return SequenceValue(items, ctx.store)


@op("SequenceAt", layout=V)
def sequence_at(ctx: Context, sequence: Value, position: Value) -> Value:
    """Lower SequenceAt; elements of one shape are stacked if the position is computed at run time."""
    items = _items(ctx, sequence)
    if position.array is not None:
        return items[int(position.array.reshape(-1)[0])]
    if len({(v.dtype, v.shape) for v in items}) != 1:
        raise ctx.reject("SequenceAt over elements of different shapes needs its position to be known at build time.")
    index = tf.reshape(tf.cast(position.tensor, tf.int64), [])
    index = tf.where(index < 0, index + len(items), index)
    return ctx.value(tf.stack([v.tensor for v in items])[index])


@op("SequenceLength", layout=V)
def sequence_length(ctx: Context, sequence: Value) -> Value:
    """Lower SequenceLength, which is always known at build time."""
    return ctx.constant(np.array(len(_items(ctx, sequence)), np.int64))


@op("ConcatFromSequence", layout=V)
def concat_from_sequence(ctx: Context, sequence: Value, *, axis: int, new_axis: int = 0) -> Value:
    """Lower ConcatFromSequence: the elements concatenated, or stacked along a new axis."""
    tensors = [v.tensor for v in _items(ctx, sequence)]
    return ctx.value(tf.stack(tensors, axis) if new_axis else tf.concat(tensors, axis))


@op("SplitToSequence", layout=V)
def split_to_sequence(
    ctx: Context, x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1
) -> Value:
    """Lower SplitToSequence: into slices of 1 without `split`, or into chunks of a scalar `split`, the last one smaller."""
    length = x.shape[axis]
    if split is None:
        parts = _chunks(ctx, length, 1)
    elif split.array is not None and split.array.ndim == 0:
        parts = _chunks(ctx, length, int(split.array))
    else:
        parts = _part_sizes(ctx, split)
    tensors = tf.split(x.tensor, parts, axis)
    if split is None and not keepdims:
        tensors = [tf.squeeze(t, axis) for t in tensors]
    return SequenceValue([ctx.value(t) for t in tensors], ctx.store)


def _chunks(ctx: Context, length: int | None, size: int) -> list[int]:
    if length is None:
        raise ctx.reject("SplitToSequence needs the size of its axis to be known at build time.")
    return [min(size, length - start) for start in range(0, length, size)]


def _part_sizes(ctx: Context, split: Value) -> Any:
    """Return the sizes of the parts, which may be computed at run time as long as their number is known."""
    if split.array is not None:
        return [int(n) for n in split.array]
    if split.rank != 1 or split.shape[0] is None:
        raise ctx.reject(
            "SplitToSequence needs the number of its parts to be known at build time.",
            fix="split into a fixed number of parts",
        )
    return split.tensor


@op("SequenceMap", layout=V)
def sequence_map(ctx: Context, sequence: Value, *others: Value, body: ir.Graph) -> list[Value]:
    """Lower SequenceMap: the body for each element; other sequences advance with it, tensors are the same for all."""
    assert ctx.subgraph is not None
    rows = []
    for i, item in enumerate(_items(ctx, sequence)):
        rest = [o.items[i] if isinstance(o, SequenceValue) else o for o in others]
        rows.append(ctx.subgraph(body, [item, *rest]))
    columns: Sequence[Sequence[Value]] = list(zip(*rows, strict=True)) if rows else [()] * len(body.outputs)
    return [SequenceValue(column, ctx.store) for column in columns]


@op("Optional", layout=V)
def optional(ctx: Context, item: Value | None = None, *, type: Any = None) -> Value:
    """Lower Optional: the element itself, or an empty optional."""
    return EmptyOptional(ctx.store) if item is None else item


@op("OptionalHasElement", layout=V)
def optional_has_element(ctx: Context, item: Value | None = None) -> Value:
    """Lower OptionalHasElement, which is always known at build time."""
    return ctx.constant(np.array(item is not None and not isinstance(item, EmptyOptional)))


@op("OptionalGetElement", layout=V)
def optional_get_element(ctx: Context, item: Value) -> Value:
    """Lower OptionalGetElement: the element of an optional."""
    if isinstance(item, EmptyOptional):
        raise ctx.reject("OptionalGetElement needs an optional with an element, but it is empty.")
    return item
