"""If, Loop and Scan.

https://onnx.ai/onnx/operators/onnx__If.html, https://onnx.ai/onnx/operators/onnx__Loop.html,
https://onnx.ai/onnx/operators/onnx__Scan.html

If the condition of an If is known at build time, its branch is lowered in place; a Loop over sequences is unrolled if its steps
are known and few. Everything else becomes tf.cond and tf.while_loop, which carry a sequence as a list of TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.sequence import ListOf, SequenceValue, as_list, common_shape, flatten, restore, structure
from bundler.converters.native.tensors import Tensor, transpose
from bundler.converters.native.value import Value
from bundler.converters.native.zero_sizes import at_least_one

_MOST_UNROLLED = 64
"""Most steps of a loop over sequences that is unrolled, so that the lengths of its sequences are known."""


@op("If", layout=AxisPolicy.VALUES)
def if_(ctx: Context, condition: Value, *, then_branch: ir.Graph, else_branch: ir.Graph) -> list[Value]:
    """Lower If: in place if the condition is a constant, otherwise as tf.cond."""
    if condition.array is not None:
        return _lower(ctx, then_branch if bool(condition.array.reshape(-1)[0]) else else_branch, [])
    try:
        return _cond(ctx, condition, then_branch, else_branch, lists=False)
    except _DifferentStructures:
        pass
    try:
        return _cond(ctx, condition, then_branch, else_branch, lists=True)
    except _DifferentStructures:
        raise ctx.reject(
            "If returns an optional that is empty in one branch only, which TensorFlow cannot represent.",
            fix="return a tensor in both branches, and a flag that says whether it counts",
        ) from None


class _DifferentStructures(Exception):  # noqa: N818  (a signal between functions of this module)
    """The branches of an If return sequences of different lengths, or an optional with and without an element."""


def _cond(
    ctx: Context, condition: Value, then_branch: ir.Graph, else_branch: ir.Graph, *, lists: bool
) -> list[Value]:
    """Lower the branches; `lists` gives all sequences the form whose length is dynamic."""
    structures: list[list[Any]] = []

    def branch(graph: ir.Graph) -> Callable[[], list[Tensor]]:
        def trace() -> list[Tensor]:
            results = _lower(ctx, graph, [])
            if lists:
                results = [as_list(v) if isinstance(v, SequenceValue) else v for v in results]
            structures.append([structure(v) for v in results])
            if any(not _is_same_kind(a, b) for a, b in zip(structures[0], structures[-1], strict=True)):
                raise _DifferentStructures
            return [tf.identity(t) for v in results for t in flatten(v)]

        return trace

    tensors = tf.cond(tf.reshape(condition.tensor, []), branch(then_branch), branch(else_branch))
    kinds = [_merged(a, b) for a, b in zip(structures[0], structures[-1], strict=True)]
    return restore(kinds, tensors if isinstance(tensors, list) else [tensors], ctx.store)


def _is_same_kind(a: Any, b: Any) -> bool:
    return isinstance(b, ListOf) and a.dtype == b.dtype if isinstance(a, ListOf) else bool(a == b)


def _merged(a: Any, b: Any) -> Any:
    return ListOf(a.dtype, common_shape(a.shape, b.shape)) if isinstance(a, ListOf) else a


@op("Loop", layout=AxisPolicy.VALUES)
def loop(
    ctx: Context, count: Value | None = None, condition: Value | None = None, *carried: Value, body: ir.Graph
) -> list[Value]:
    """Lower Loop: body(step, condition, carried…) returns condition, carried…, scanned…; scanned outputs are stacked."""
    steps = None if count is None or count.array is None else int(count.array.reshape(-1)[0])
    sequences = any(isinstance(v, SequenceValue) for v in carried) or _has_sequences(body)
    if steps is not None and sequences and steps <= _MOST_UNROLLED:
        results = _unrolled(ctx, steps, condition, list(carried), body)
        if results is not None:
            return results
    return _while(ctx, count, condition, list(carried), body)


def _lower(ctx: Context, graph: ir.Graph, inputs: Sequence[Value]) -> list[Value]:
    assert ctx.subgraph is not None
    return ctx.subgraph(graph, inputs)


def _has_sequences(graph: ir.Graph) -> bool:
    return any("Sequence" in node.op_type for node in ir.traversal.RecursiveGraphIterator(graph))


def _unrolled(
    ctx: Context, steps: int, condition: Value | None, carried: list[Value], body: ir.Graph
) -> list[Value] | None:
    """Lower every step on its own; return None if the condition turns out to depend on the inputs."""
    go = condition
    scanned: list[list[Tensor]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
    for step in range(steps):
        if go is not None and go.array is None:
            return None
        if go is not None and go.array is not None and not bool(go.array.reshape(-1)[0]):
            break
        current = ctx.constant(np.array(True)) if go is None else go
        go, *results = _lower(ctx, body, [ctx.constant(np.array(step, np.int64)), current, *carried])
        carried = results[: len(carried)]
        for outputs, value in zip(scanned, results[len(carried) :], strict=True):
            outputs.append(value.tensor)
    return [*carried, *(ctx.value(tf.stack(outputs)) for outputs in scanned)]


def _while(
    ctx: Context, count: Value | None, condition: Value | None, carried: list[Value], body: ir.Graph
) -> list[Value]:
    states = [as_list(v) if isinstance(v, SequenceValue) else v for v in carried]
    kinds = [structure(v) for v in states]
    limit = None if count is None else tf.cast(tf.reshape(count.tensor, []), tf.int64)
    start = tf.constant(True) if condition is None else tf.reshape(condition.tensor, [])
    initial = [t for v in states for t in flatten(v)]

    def step(index: Tensor, go: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        results = _lower(ctx, body, [ctx.value(index), ctx.value(go), *restore(kinds, states, ctx.store)])
        carried = [as_list(v) if isinstance(v, SequenceValue) else v for v in results[1 : len(kinds) + 1]]
        kinds[:] = [_merged(kind, structure(v)) for kind, v in zip(kinds, carried, strict=True)]
        tensors = [t for v in carried for t in flatten(v)]
        return tf.reshape(results[0].tensor, []), tensors, [v.tensor for v in results[len(kinds) + 1 :]]

    def first(states: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return step(_unknown(tf.int64), _unknown(tf.bool), states)[1:]

    shapes, outputs = _probe(initial, first, kinds)

    def run(index: Tensor, go: Tensor, states: list[Tensor], arrays: list[Any]) -> tuple[Any, ...]:
        go, new, scanned = step(index, go, states)
        return index + 1, go, new, [a.write(tf.cast(index, tf.int32), t) for a, t in zip(arrays, scanned, strict=True)]

    def proceed(index: Tensor, go: Tensor, *_: Any) -> Tensor:
        return go if limit is None else tf.logical_and(go, index < limit)

    arrays = [
        tf.TensorArray(t.dtype, size=0, dynamic_size=True, element_shape=t.shape, infer_shape=False) for t in outputs
    ]
    count_of_steps, _, final, arrays = tf.while_loop(
        proceed, run, [tf.constant(0, tf.int64), start, initial, arrays],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(arrays)],
    )  # fmt: skip
    stacked = [_stacked(a, spec, count_of_steps) for a, spec in zip(arrays, outputs, strict=True)]
    return [*restore(kinds, final, ctx.store), *map(ctx.value, stacked)]


def _stacked(array: Any, spec: tf.TensorSpec, steps: Tensor) -> Tensor:
    """Return the items of a TensorArray as one tensor.

    Without a step, nothing tells the sizes of an item that are unknown at build time; they are 0 then, as in ONNX Runtime.
    """
    if spec.shape.rank is None or spec.shape.is_fully_defined():
        return array.stack()
    nothing = tf.zeros([0, *(size or 0 for size in spec.shape)], spec.dtype)
    result = tf.cond(steps > 0, array.stack, lambda: nothing)
    return tf.ensure_shape(result, [None, *spec.shape])


def _probe(
    initial: Sequence[Tensor], step: Callable[[list[Tensor]], tuple[list[Tensor], list[Tensor]]], kinds: Sequence[Any] = ()
) -> tuple[list[tf.TensorShape], list[tf.TensorSpec]]:
    """Return the shapes that loop-carried tensors have in every step, and the shapes and dtypes of a step's other outputs.

    The body is traced for shapes only, and again for as long as it changes a size that was taken for fixed, or one in `kinds`:
    the structures of the carried values, which a step updates.
    """
    shapes = [t.shape for t in initial]
    while True:
        before = list(kinds)
        with tf.__internal__.FuncGraph("shapes").as_default():
            states, scanned = step([tf.compat.v1.placeholder(t.dtype, s) for t, s in zip(initial, shapes, strict=True)])
        invariant = [s.most_specific_compatible_shape(t.shape) for s, t in zip(shapes, states, strict=True)]
        settled = all(_same_items(a, b) for a, b in zip(before, kinds, strict=True) if isinstance(a, ListOf))
        if settled and [s.rank for s in invariant] == [s.rank for s in shapes] and all(map(_same, invariant, shapes)):
            return shapes, [tf.TensorSpec(t.shape, t.dtype) for t in scanned]
        shapes = invariant


def _unknown(dtype: tf.DType) -> Tensor:
    """Return a scalar that the body cannot take for a constant."""
    return tf.compat.v1.placeholder(dtype, [])


def _same(a: tf.TensorShape, b: tf.TensorShape) -> bool:
    return a.rank is None or bool(a.as_list() == b.as_list())


def _same_items(a: ListOf, b: ListOf) -> bool:
    if a.shape is None or b.shape is None:
        return a.shape is b.shape
    return a.shape.rank == b.shape.rank and _same(a.shape, b.shape)


@op("Scan", layout=AxisPolicy.VALUES, since=9)
def scan(
    ctx: Context, *inputs: Value, body: ir.Graph, num_scan_inputs: int, scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None, scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
) -> list[Value]:  # fmt: skip
    """Lower Scan: body(states…, slices…) returns states…, slices…; direction 0 is first to last, 1 is last to first."""
    count = len(inputs) - num_scan_inputs
    initial = [v.tensor for v in inputs[:count]]
    sliced = [
        _to_first(v, axis, bool(backward))
        for v, axis, backward in zip(
            inputs[count:], _or_zeros(scan_input_axes, num_scan_inputs), _or_zeros(scan_input_directions, num_scan_inputs),
            strict=True,
        )
    ]  # fmt: skip
    length = next((t.shape[0] for t in sliced if t.shape[0] is not None), None)
    total = tf.shape(sliced[0])[0] if length is None else tf.constant(length)
    steps = total

    def step(index: Tensor, states: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        results = _lower(ctx, body, [ctx.value(t) for t in (*states, *(s[index] for s in sliced))])
        tensors = [v.tensor for v in results]
        return tensors[:count], tensors[count:]

    shapes, outputs = _probe(initial, lambda states: step(_unknown(tf.int32), states))
    tries_once = length is None and not all(t.shape.is_fully_defined() for t in outputs)
    if tries_once:  # without a step, nothing tells the sizes of the outputs
        sliced, steps = [at_least_one(t, [0]) for t in sliced], tf.maximum(total, 1)

    def run(index: Tensor, states: list[Tensor], arrays: list[Any]) -> tuple[Any, ...]:
        new, scanned = step(index, states)
        return index + 1, new, [a.write(index, t) for a, t in zip(arrays, scanned, strict=True)]

    arrays = [tf.TensorArray(t.dtype, size=steps, element_shape=t.shape) for t in outputs]
    _, states, arrays = tf.while_loop(
        lambda index, *_: index < steps, run, [tf.constant(0), initial, arrays],
        shape_invariants=[tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(arrays)],
    )  # fmt: skip
    outputs = [a.stack() for a in arrays]
    if tries_once:
        outputs = [t[:total] for t in outputs]
        states = [tf.cond(total > 0, lambda t=t: t, lambda i=i: i) for t, i in zip(states, initial, strict=True)]
    axes, directions = _or_zeros(scan_output_axes, len(arrays)), _or_zeros(scan_output_directions, len(arrays))
    stacked = [
        _from_first(t, axis, bool(backward))
        for t, axis, backward in zip(outputs, axes, directions, strict=True)
    ]
    return [ctx.value(t) for t in (*states, *stacked)]


def _or_zeros(numbers: Sequence[int] | None, count: int) -> list[int]:
    return list(numbers) if numbers else [0] * count


def _to_first(value: Value, axis: int, backward: bool) -> Tensor:
    """Move the scanned axis to the front, in the order of the steps."""
    rank = len(value.shape)
    axis = axis % rank
    moved = value.in_order((axis, *(a for a in range(rank) if a != axis)))
    return tf.reverse(moved, [0]) if backward else moved


def _from_first(stacked: Tensor, axis: int, backward: bool) -> Tensor:
    """Move the axis of the steps to its place in the output."""
    data = tf.reverse(stacked, [0]) if backward else stacked
    rank = data.shape.rank
    axis = axis % rank
    return data if axis == 0 else transpose(data, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
