"""Lowers a node whose operand has a rank that is known only at run time, as after a Reshape to a computed target.

Handlers work out axes from the rank. So the node is lowered once for each rank that an operand may have, and tf.switch_case
chooses at run time. If only one rank is possible (Transpose, Conv), it is taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.sequence import EmptyOptional, ListValue, SequenceValue
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

LARGEST_RANK = 7
"""Largest rank that is tried. A tensor of a larger one fails at run time."""

Call = Callable[[list[Value | None], Context], list[Value | None]]


def unranked(operands: Sequence[Value | None]) -> int | None:
    """Return the position of the first tensor whose rank is not known at build time, or None."""
    for position, value in enumerate(operands):
        if isinstance(value, Value) and not isinstance(value, (SequenceValue, ListValue, EmptyOptional)) and value.rank is None:
            return position
    return None


def call_by_rank(call: Call, operands: list[Value | None], context: Context) -> list[Value | None]:
    """Lower a node for every rank that its unranked operand may have.

    Args:
        call: lowers the node for operands and a context.
        operands: the node's operands, at least one of them of unknown rank.
        context: the conversion; sizes that a branch reads are its own.

    Raises:
        Exception: what `call` raises for the largest rank, if it raises for every rank.
    """
    position = unranked(operands)
    if position is None:
        return call(operands, context)
    unknown = operands[position]
    assert unknown is not None
    tensor = unknown.tensor

    def lower(rank: int) -> list[Tensor | None]:
        ranked = context.value(_with_rank(tensor, rank))
        inner = replace(context, dims=dict(context.dims))
        results = call_by_rank(call, [*operands[:position], ranked, *operands[position + 1 :]], inner)
        return [None if v is None else v.tensor for v in results]

    specs, failure = _probe(lower)
    if not specs:
        assert failure is not None
        raise failure
    if len(specs) == 1:
        return [None if t is None else context.value(t) for t in lower(next(iter(specs)))]
    present = [spec is not None for spec in next(iter(specs.values()))]
    dtypes = [spec.dtype for spec in next(iter(specs.values())) if spec is not None]

    def branch(rank: int) -> Callable[[], list[Tensor]]:
        def trace() -> list[Tensor]:
            if rank in specs:
                return [tf.identity(t) for t in lower(rank) if t is not None]
            checked = tf.debugging.Assert(False, [f"the operator takes no tensor with {rank} dims"])
            with tf.control_dependencies([checked]):
                return [tf.identity(tf.zeros([], dtype)) for dtype in dtypes]

        return trace

    tensors = tf.switch_case(tf.rank(tensor), [branch(rank) for rank in range(LARGEST_RANK + 1)])
    remaining = iter(tensors if isinstance(tensors, (list, tuple)) else [tensors])
    return [context.value(next(remaining)) if there else None for there in present]


def _with_rank(tensor: Tensor, rank: int) -> Tensor:
    """Return the tensor with its rank known.

    EnsureShape would do, but TensorFlow's graph optimiser (2.21) takes what one branch ensures for true in all of them.
    """
    sizes = tf.shape(tensor)
    return tf.reshape(tensor, tf.stack([sizes[axis] for axis in range(rank)]) if rank else [])


def _probe(
    lower: Callable[[int], list[Tensor | None]],
) -> tuple[dict[int, list[tf.TensorSpec | None]], Exception | None]:
    """Return the dtypes and shapes of the results for every rank that can be lowered, and the last error of the others."""
    specs: dict[int, list[tf.TensorSpec | None]] = {}
    failure: Exception | None = None
    for rank in range(LARGEST_RANK + 1):
        with tf.__internal__.FuncGraph("rank").as_default():
            try:
                specs[rank] = [None if t is None else tf.TensorSpec(t.shape, t.dtype) for t in lower(rank)]
            except Exception as exc:  # noqa: BLE001 (a handler raises anything for a rank that its operator does not take)
                failure = exc
    return specs, failure
