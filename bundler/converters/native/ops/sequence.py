"""Sequences and optionals: Python lists while the graph is lowered, or TensorFlow's lists if their length is dynamic.

https://onnx.ai/onnx/operators/onnx__SequenceAt.html, https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.sequence import (
    EmptyOptional,
    ListValue,
    SequenceValue,
    as_list,
    concatenated,
    make_list,
    make_lists,
    stacked,
)
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

V = AxisPolicy.VALUES


def _sequence(ctx: Context, value: Value) -> SequenceValue | ListValue:
    if not isinstance(value, (SequenceValue, ListValue)):
        raise ctx.reject(f"{ctx.node.op_type if ctx.node else 'The node'} needs a sequence, but is given a tensor.")
    return value


def _index(position: Value, length: int | Tensor) -> Tensor:
    """Return a position that is known only at run time, counted from the start, as an int32 scalar."""
    index = tf.cast(tf.reshape(position.tensor, []), tf.int32)
    return tf.where(index < 0, index + length, index)


@op("SequenceConstruct", layout=V)
def sequence_construct(ctx: Context, *inputs: Value) -> Value:
    """Lower SequenceConstruct: a sequence of the inputs."""
    return SequenceValue(inputs, ctx.store)


@op("SequenceEmpty", layout=V)
def sequence_empty(ctx: Context, *, dtype: int = 1) -> Value:
    """Lower SequenceEmpty: a sequence without elements."""
    return SequenceValue((), ctx.store, tensor_dtype(dtype))


@op("SequenceInsert", layout=V)
def sequence_insert(ctx: Context, sequence: Value, tensor: Value, position: Value | None = None) -> Value:
    """Lower SequenceInsert: a sequence with one more element, at the end if there is no position."""
    elements = _sequence(ctx, sequence)
    if isinstance(elements, ListValue):
        return elements.pushed(tensor.tensor) if position is None else _inserted(elements, tensor, position)
    items = list(elements.items)
    if position is not None and position.array is None:
        return _inserted_at_run_time(ctx, items, tensor, position)
    items.insert(len(items) if position is None else int(_constant(position)), tensor)
    return SequenceValue(items, ctx.store)


def _inserted(elements: ListValue, new: Value, position: Value) -> ListValue:
    place = _index(position, elements.length)

    def item(index: Tensor) -> Tensor:
        return tf.cond(tf.equal(index, place), lambda: new.tensor, lambda: elements.at(index - tf.cast(index > place, tf.int32)))

    return make_list(elements.length + 1, item, elements.store)


def _inserted_at_run_time(ctx: Context, items: list[Value], new: Value, position: Value) -> Value:
    """Choose at run time which element each place of the result holds: one of two old ones, or the new one."""
    count = len(items)
    index = _index(position, count)
    results = []
    for place in range(count + 1):
        before = items[place] if place < count else new
        after = items[place - 1] if place > 0 else new
        results.append(_chosen(ctx, tf.sign(place - index) + 1, [before, new, after]))
    return SequenceValue(results, ctx.store)


def _chosen(ctx: Context, index: Tensor, choices: Sequence[Value]) -> Value:
    """Return one of several values, which may differ in shape and rank."""
    return ctx.value(tf.switch_case(index, [lambda t=v.tensor: tf.identity(t) for v in choices]))


def _constant(position: Value) -> Any:
    assert position.array is not None
    return position.array.reshape(-1)[0]


@op("SequenceErase", layout=V)
def sequence_erase(ctx: Context, sequence: Value, position: Value | None = None) -> Value:
    """Lower SequenceErase: a sequence without one element, the last if there is no position."""
    elements = _sequence(ctx, sequence)
    if isinstance(elements, ListValue):
        place = elements.length - 1 if position is None else _index(position, elements.length)
        kept = elements.length - 1
        return make_list(kept, lambda index: elements.at(index + tf.cast(index >= place, tf.int32)), ctx.store)
    items = list(elements.items)
    if position is not None and position.array is None:
        erased = _index(position, len(items))
        pairs = enumerate(pairwise(items))
        chosen = [_chosen(ctx, tf.cast(place >= erased, tf.int32), pair) for place, pair in pairs]
        return SequenceValue(chosen, ctx.store, elements.item_dtype)
    del items[-1 if position is None else int(_constant(position))]
    return SequenceValue(items, ctx.store, elements.item_dtype)


@op("SequenceAt", layout=V)
def sequence_at(ctx: Context, sequence: Value, position: Value) -> Value:
    """Lower SequenceAt; elements of one known shape are stacked if the position is computed at run time."""
    elements = _sequence(ctx, sequence)
    if isinstance(elements, ListValue):
        return ctx.value(elements.at(_index(position, elements.length)))
    items = elements.items
    if position.array is not None:
        return items[int(_constant(position))]
    index = _index(position, len(items))
    shapes = {v.shape if v.rank is not None else None for v in items}
    if len(shapes) == 1 and all(shape is not None and None not in shape for shape in shapes):
        return ctx.value(tf.stack([v.tensor for v in items])[index])
    return _chosen(ctx, index, items)


@op("SequenceLength", layout=V)
def sequence_length(ctx: Context, sequence: Value) -> Value:
    """Lower SequenceLength, which is mostly known at build time."""
    elements = _sequence(ctx, sequence)
    if isinstance(elements, ListValue):
        return ctx.value(tf.cast(elements.length, tf.int64))
    return ctx.constant(np.array(len(elements.items), np.int64))


@op("ConcatFromSequence", layout=V)
def concat_from_sequence(ctx: Context, sequence: Value, *, axis: int, new_axis: int = 0) -> Value:
    """Lower ConcatFromSequence: the elements concatenated, or stacked along a new axis."""
    elements = _sequence(ctx, sequence)
    if isinstance(elements, ListValue):
        return ctx.value(stacked(elements, axis) if new_axis else concatenated(elements, axis))
    tensors = [v.tensor for v in elements.items]
    return ctx.value(tf.stack(tensors, axis) if new_axis else tf.concat(tensors, axis))


@op("SplitToSequence", layout=V)
def split_to_sequence(
    ctx: Context, x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1
) -> Value:
    """Lower SplitToSequence: into slices of 1 without `split`, or into chunks of a scalar `split`, the last one smaller."""
    axis = axis % len(x.shape)
    parts = _part_sizes(x.shape[axis], split)
    if parts is None:
        return _split_at_run_time(ctx, x, split, axis, squeezed=split is None and not keepdims)
    tensors = tf.split(x.tensor, parts, axis)
    if split is None and not keepdims:
        tensors = [tf.squeeze(t, axis) for t in tensors]
    return SequenceValue([ctx.value(t) for t in tensors], ctx.store)


def _part_sizes(length: int | None, split: Value | None) -> Any:
    """Return the sizes of the parts, which may be computed at run time; None if their number is known only then."""
    if split is not None and split.rank == 1:
        return split.tensor if split.array is None and split.shape[0] is not None else (
            None if split.array is None else [int(n) for n in split.array]
        )  # fmt: skip
    if length is None or (split is not None and split.array is None):
        return None
    size = 1 if split is None or split.array is None else int(split.array)
    return [min(size, length - start) for start in range(0, length, size)]


def _split_at_run_time(ctx: Context, x: Value, split: Value | None, axis: int, *, squeezed: bool) -> ListValue:
    """Split along an axis into a number of parts that is known only at run time."""
    data = x.tensor
    length = tf.shape(data)[axis]
    if split is not None and split.rank == 1:
        sizes = tf.cast(split.tensor, tf.int32)
    else:
        size = tf.constant(1) if split is None else tf.cast(split.tensor, tf.int32)
        starts = tf.range(0, length, size)
        sizes = tf.minimum(starts + size, length) - starts
    begins = tf.cumsum(sizes, exclusive=True)
    before, after = [slice(None)] * axis, [slice(None)] * (len(x.shape) - axis - 1)

    def item(index: Tensor) -> Tensor:
        begin = begins[index]
        part = begin if squeezed else slice(begin, begin + sizes[index])
        place = (*before, part, *after)
        return data[place]

    return make_list(tf.size(sizes), item, ctx.store)


@op("SequenceMap", layout=V)
def sequence_map(ctx: Context, sequence: Value, *others: Value, body: ir.Graph) -> list[Value]:
    """Lower SequenceMap: the body for each element; other sequences advance with it, tensors are the same for all."""
    subgraph = ctx.subgraph
    assert subgraph is not None
    first = _sequence(ctx, sequence)
    if isinstance(first, ListValue) or any(isinstance(o, ListValue) for o in others):
        lists = [as_list(v) if isinstance(v, (SequenceValue, ListValue)) else v for v in (first, *others)]

        def results(index: Tensor) -> list[Tensor]:
            values = [ctx.value(v.at(index)) if isinstance(v, ListValue) else v for v in lists]
            return [v.tensor for v in subgraph(body, values)]

        return list(make_lists(as_list(first).length, results, ctx.store))
    rows = []
    for i, item in enumerate(first.items):
        rest = [o.items[i] if isinstance(o, SequenceValue) else o for o in others]
        rows.append(subgraph(body, [item, *rest]))
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
