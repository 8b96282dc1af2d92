"""Moving the axes of attention: [B, S, H, D] <-> [B, H, S, D].

With oneDNN, TensorFlow's Transpose costs 0.1 ms whatever its size. An Einsum of one operand makes the same move without that
cost if the last axis stays last: 0.02 ms instead of 0.12 for 64 tokens in 12 heads of 32 (benchmarks/forms.py). If the last
axis moves too, Einsum is up to twice as slow.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.orders import Order, identity
from bundler.converters.native.tensors import Tensor, transpose
from bundler.converters.native.value import Value

_AXES = "abcd"


def moved(ctx: Context, x: Tensor, permutation: Sequence[int]) -> Tensor:
    """Transpose x, as an Einsum where that is faster."""
    if not _is_move_of_heads(ctx, x, permutation):
        return transpose(x, permutation)
    return tf.raw_ops.Einsum(inputs=[x], equation=f"{_AXES}->{''.join(_AXES[axis] for axis in permutation)}")


def offer_move(ctx: Context, value: Value, order: Order | None = None) -> None:
    """Let `value` be moved from its storage order to `order` (default: ONNX's) in the faster form."""
    if value.is_constant or value.rank != 4:
        return
    current, wanted = value.order or identity(4), order or identity(4)
    permutation = [current.index(axis) for axis in wanted]
    if _is_move_of_heads(ctx, value.stored, permutation):
        value.offer(order, lambda: moved(ctx, value.stored, permutation))


def _is_move_of_heads(ctx: Context, x: Tensor, permutation: Sequence[int]) -> bool:
    return (
        ctx.target == "serving" and x.dtype == tf.float32 and x.shape.rank == 4 and list(permutation) != [0, 1, 2, 3]
        and permutation[3] == 3 and 1 not in x.shape[1:3]
    )  # fmt: skip
