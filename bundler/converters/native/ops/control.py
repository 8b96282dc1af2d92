"""If, Loop and Scan. https://onnx.ai/onnx/operators/onnx__Loop.html

Where the condition or the number of steps is known at build time, the branch or the steps are lowered in place; else they
become tf.cond and tf.while_loop.
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
from bundler.converters.native.value import Tensor, Value

_UNROLLED = 64
"""A loop over sequences is unrolled up to this many steps: TensorFlow's loops carry tensors only."""


@op("If", layout=AxisPolicy.VALUES)
def if_(ctx: Context, condition: Value, *, then_branch: ir.Graph, else_branch: ir.Graph) -> list[Value]:
    if condition.array is not None:
        return _lower(ctx, then_branch if bool(condition.array.reshape(-1)[0]) else else_branch, [])
    structures: list[list[Any]] = []

    def branch(graph: ir.Graph) -> Callable[[], list[Tensor]]:
        def trace() -> list[Tensor]:
            results = _lower(ctx, graph, [])
            structures.append([structure(v) for v in results])
            if structures[0] != structures[-1]:
                raise ctx.reject("The branches of an If give sequences or optionals of different lengths.")
            return [tf.identity(t) for v in results for t in flatten(v)]

        return trace

    tensors = tf.cond(tf.reshape(condition.tensor, []), branch(then_branch), branch(else_branch))
    return restore(structures[0], tensors if isinstance(tensors, list) else [tensors], ctx.store)


@op("Loop", layout=AxisPolicy.VALUES)
def loop(
    ctx: Context, count: Value | None = None, condition: Value | None = None, *carried: Value, body: ir.Graph
) -> list[Value]:
    """body(step, condition, carried…) -> condition, carried…, scanned…; the scanned outputs are stacked over the steps."""
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
    if steps > _UNROLLED:
        raise ctx.reject(f"A loop over sequences has {steps} steps; up to {_UNROLLED} are unrolled.")
    going = condition
    scanned: list[list[Tensor]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
    for step in range(steps):
        if going is not None and going.array is None:
            raise ctx.reject("A loop over sequences ends by a condition that is computed at run time.")
        if going is not None and going.array is not None and not bool(going.array.reshape(-1)[0]):
            break
        start = ctx.constant(np.array(True)) if going is None else going
        going, *results = _lower(ctx, body, [ctx.constant(np.array(step, np.int64)), start, *carried])
        carried = results[: len(carried)]
        for outputs, value in zip(scanned, results[len(carried) :], strict=True):
            outputs.append(value.tensor)
    return [*carried, *(ctx.value(tf.stack(outputs)) for outputs in scanned)]


def _while(
    ctx: Context, count: Value | None, condition: Value | None, carried: list[Value], body: ir.Graph
) -> list[Value]:
    if any(isinstance(v, SequenceValue) for v in carried):
        raise ctx.reject(
            "A loop over sequences has a number of steps that is computed at run time.", fix="give it a fixed number"
        )
    limit = None if count is None else tf.cast(tf.reshape(count.tensor, []), tf.int64)
    going = tf.constant(True) if condition is None else tf.reshape(condition.tensor, [])
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
        proceed, run, [tf.constant(0, tf.int64), going, initial, arrays],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(arrays)],
    )  # fmt: skip
    return [ctx.value(t) for t in (*states, *(a.stack() for a in arrays))]


def _probe(
    initial: Sequence[Tensor], step: Callable[[list[Tensor]], tuple[list[Tensor], list[Tensor]]]
) -> tuple[list[tf.TensorShape], list[tf.TensorSpec]]:
    """The shapes that loop-carried tensors keep in every step, and the shapes and dtypes of what one step gives besides.

    The body is traced for shapes only, again for as long as a size turns out not to be kept.
    """
    shapes = [t.shape for t in initial]
    while True:
        with tf.__internal__.FuncGraph("shapes").as_default():
            states, scanned = step([tf.compat.v1.placeholder(t.dtype, s) for t, s in zip(initial, shapes, strict=True)])
        kept = [s.most_specific_compatible_shape(t.shape) for s, t in zip(shapes, states, strict=True)]
        if [s.rank for s in kept] == [s.rank for s in shapes] and all(map(_same, kept, shapes)):
            return shapes, [tf.TensorSpec(t.shape, t.dtype) for t in scanned]
        shapes = kept


def _unknown(dtype: tf.DType) -> Tensor:
    """A scalar that the body cannot take for a constant."""
    return tf.compat.v1.placeholder(dtype, [])


def _same(a: tf.TensorShape, b: tf.TensorShape) -> bool:
    return a.rank is None or bool(a.as_list() == b.as_list())


@op("Scan", layout=AxisPolicy.VALUES, since=9)
def scan(
    ctx: Context,
    *inputs: Value,
    body: ir.Graph,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None,
    scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
) -> list[Value]:
    """body(states…, slices…) -> states…, slices…; directions: 0 first to last, 1 last to first."""
    count = len(inputs) - num_scan_inputs
    initial = [v.tensor for v in inputs[:count]]
    sliced = [
        _scan_first(v, axis, bool(backward))
        for v, axis, backward in zip(
            inputs[count:], _given(scan_input_axes, num_scan_inputs), _given(scan_input_directions, num_scan_inputs),
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
    axes, ways = _given(scan_output_axes, len(arrays)), _given(scan_output_directions, len(arrays))
    stacked = [_scan_last(a.stack(), axis, bool(way)) for a, axis, way in zip(arrays, axes, ways, strict=True)]
    return [ctx.value(t) for t in (*states, *stacked)]


def _given(numbers: Sequence[int] | None, count: int) -> list[int]:
    return list(numbers) if numbers else [0] * count


def _scan_first(value: Value, axis: int, backward: bool) -> Tensor:
    """The scanned axis in front, in the order of the steps."""
    rank = len(value.shape)
    axis = axis % rank
    moved = value.in_order((axis, *(a for a in range(rank) if a != axis)))
    return tf.reverse(moved, [0]) if backward else moved


def _scan_last(stacked: Tensor, axis: int, backward: bool) -> Tensor:
    data = tf.reverse(stacked, [0]) if backward else stacked
    rank = data.shape.rank
    axis = axis % rank
    return data if axis == 0 else tf.transpose(data, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
