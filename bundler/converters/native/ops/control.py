"""If, Loop and Scan.

https://onnx.ai/onnx/operators/onnx__If.html, https://onnx.ai/onnx/operators/onnx__Loop.html,
https://onnx.ai/onnx/operators/onnx__Scan.html

If the condition of an If is known at build time, its branch is lowered in place; a Loop over sequences is unrolled.
Everything else becomes tf.cond and tf.while_loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.sequence import SequenceValue, flatten, restore, structure
from bundler.converters.native.tensors import Tensor, transpose
from bundler.converters.native.value import Value

_MOST_UNROLLED = 64
"""Most steps of a loop over sequences. Such a loop is unrolled, because TensorFlow's loops carry tensors only."""


@op("If", layout=AxisPolicy.VALUES)
def if_(ctx: Context, condition: Value, *, then_branch: ir.Graph, else_branch: ir.Graph) -> list[Value]:
    """Lower If: in place if the condition is a constant, otherwise as tf.cond."""
    if condition.array is not None:
        return _lower(ctx, then_branch if bool(condition.array.reshape(-1)[0]) else else_branch, [])
    structures: list[list[Any]] = []

    def branch(graph: ir.Graph) -> Callable[[], list[Tensor]]:
        def trace() -> list[Tensor]:
            results = _lower(ctx, graph, [])
            structures.append([structure(v) for v in results])
            if structures[0] != structures[-1]:
                raise ctx.reject("If has branches that return sequences or optionals of different lengths.")
            return [tf.identity(t) for v in results for t in flatten(v)]

        return trace

    tensors = tf.cond(tf.reshape(condition.tensor, []), branch(then_branch), branch(else_branch))
    return restore(structures[0], tensors if isinstance(tensors, list) else [tensors], ctx.store)


@op("Loop", layout=AxisPolicy.VALUES)
def loop(
    ctx: Context, count: Value | None = None, condition: Value | None = None, *carried: Value, body: ir.Graph
) -> list[Value]:
    """Lower Loop: body(step, condition, carried…) returns condition, carried…, scanned…; scanned outputs are stacked."""
    steps = None if count is None else count.array
    if steps is not None and (any(isinstance(v, SequenceValue) for v in carried) or _has_sequences(body)):
        return _unrolled(ctx, int(steps.reshape(-1)[0]), condition, list(carried), body)
    return _while(ctx, count, condition, list(carried), body)


def _lower(ctx: Context, graph: ir.Graph, inputs: Sequence[Value]) -> list[Value]:
    assert ctx.subgraph is not None
    return ctx.subgraph(graph, inputs)


def _has_sequences(graph: ir.Graph) -> bool:
    return any("Sequence" in node.op_type for node in ir.traversal.RecursiveGraphIterator(graph))


def _unrolled(
    ctx: Context, steps: int, condition: Value | None, carried: list[Value], body: ir.Graph
) -> list[Value]:
    if steps > _MOST_UNROLLED:
        raise ctx.reject(f"Loop over sequences has {steps} steps; at most {_MOST_UNROLLED} are supported.")
    go = condition
    scanned: list[list[Tensor]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
    for step in range(steps):
        if go is not None and go.array is None:
            raise ctx.reject("Loop over sequences needs its condition to be known at build time.")
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
    if any(isinstance(v, SequenceValue) for v in carried):
        raise ctx.reject(
            "Loop over sequences needs its number of steps to be known at build time.", fix="give it a fixed number of steps"
        )
    limit = None if count is None else tf.cast(tf.reshape(count.tensor, []), tf.int64)
    start = tf.constant(True) if condition is None else tf.reshape(condition.tensor, [])
    initial = [v.tensor for v in carried]

    def step(index: Tensor, go: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        results = _lower(ctx, body, [ctx.value(t) for t in (index, go, *states)])
        tensors = [v.tensor for v in results[1:]]
        return tf.reshape(results[0].tensor, []), tensors[: len(states)], tensors[len(states) :]

    def first(states: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return step(_unknown(tf.int64), _unknown(tf.bool), states)[1:]

    shapes, outputs = _probe(initial, first)

    def run(index: Tensor, go: Tensor, states: list[Tensor], arrays: list[Any]) -> tuple[Any, ...]:
        go, new, scanned = step(index, go, states)
        return index + 1, go, new, [a.write(tf.cast(index, tf.int32), t) for a, t in zip(arrays, scanned, strict=True)]

    def proceed(index: Tensor, go: Tensor, *_: Any) -> Tensor:
        return go if limit is None else tf.logical_and(go, index < limit)

    arrays = [
        tf.TensorArray(t.dtype, size=0, dynamic_size=True, element_shape=t.shape, infer_shape=False) for t in outputs
    ]
    _, _, states, arrays = tf.while_loop(
        proceed, run, [tf.constant(0, tf.int64), start, initial, arrays],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(arrays)],
    )  # fmt: skip
    return [ctx.value(t) for t in (*states, *(a.stack() for a in arrays))]


def _probe(
    initial: Sequence[Tensor], step: Callable[[list[Tensor]], tuple[list[Tensor], list[Tensor]]]
) -> tuple[list[tf.TensorShape], list[tf.TensorSpec]]:
    """Return the shapes that loop-carried tensors have in every step, and the shapes and dtypes of a step's other outputs.

    The body is traced for shapes only, and again for as long as it changes a size that was taken for fixed.
    """
    shapes = [t.shape for t in initial]
    while True:
        with tf.__internal__.FuncGraph("shapes").as_default():
            states, scanned = step([tf.compat.v1.placeholder(t.dtype, s) for t, s in zip(initial, shapes, strict=True)])
        invariant = [s.most_specific_compatible_shape(t.shape) for s, t in zip(shapes, states, strict=True)]
        if [s.rank for s in invariant] == [s.rank for s in shapes] and all(map(_same, invariant, shapes)):
            return shapes, [tf.TensorSpec(t.shape, t.dtype) for t in scanned]
        shapes = invariant


def _unknown(dtype: tf.DType) -> Tensor:
    """Return a scalar that the body cannot take for a constant."""
    return tf.compat.v1.placeholder(dtype, [])


def _same(a: tf.TensorShape, b: tf.TensorShape) -> bool:
    return a.rank is None or bool(a.as_list() == b.as_list())


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

    def step(index: Tensor, states: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        results = _lower(ctx, body, [ctx.value(t) for t in (*states, *(s[index] for s in sliced))])
        tensors = [v.tensor for v in results]
        return tensors[:count], tensors[count:]

    shapes, outputs = _probe(initial, lambda states: step(_unknown(tf.int32), states))

    def run(index: Tensor, states: list[Tensor], arrays: list[Any]) -> tuple[Any, ...]:
        new, scanned = step(index, states)
        return index + 1, new, [a.write(index, t) for a, t in zip(arrays, scanned, strict=True)]

    arrays = [tf.TensorArray(t.dtype, size=total, element_shape=t.shape) for t in outputs]
    _, states, arrays = tf.while_loop(
        lambda index, *_: index < total, run, [tf.constant(0), initial, arrays],
        shape_invariants=[tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(arrays)],
    )  # fmt: skip
    axes, directions = _or_zeros(scan_output_axes, len(arrays)), _or_zeros(scan_output_directions, len(arrays))
    stacked = [
        _from_first(a.stack(), axis, bool(backward))
        for a, axis, backward in zip(arrays, axes, directions, strict=True)
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
