"""Reductions over axes, in whichever order the data are stored.

https://onnx.ai/onnx/operators/onnx__ReduceMean.html
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.context import Context
from bundler.converters.native.ops.half import in_single
from bundler.converters.native.ops.shape import drop_axes
from bundler.converters.native.orders import identity
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

Reduction = Callable[..., Tensor]


def _l1(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    return tf.reduce_sum(tf.abs(x), axes, keepdims=keepdims)


def _sum_square(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    return tf.reduce_sum(tf.square(x), axes, keepdims=keepdims)


def _l2(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    if x.dtype.is_integer:
        return tf.cast(tf.sqrt(tf.cast(_sum_square(x, axes, keepdims), tf.float64)), x.dtype)
    return tf.sqrt(_sum_square(x, axes, keepdims))


def _log_sum(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    return tf.math.log(tf.reduce_sum(x, axes, keepdims=keepdims))


def _max(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    return tf.reduce_any(x, axes, keepdims) if x.dtype == tf.bool else tf.reduce_max(x, axes, keepdims)


def _min(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    return tf.reduce_all(x, axes, keepdims) if x.dtype == tf.bool else tf.reduce_min(x, axes, keepdims)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": in_single(_l1),
    "ReduceL2": in_single(_l2),
    "ReduceLogSum": in_single(_log_sum),
    "ReduceLogSumExp": in_single(tf.reduce_logsumexp),
    "ReduceMax": _max,
    "ReduceMean": in_single(tf.reduce_mean),
    "ReduceMin": _min,
    "ReduceProd": in_single(tf.reduce_prod),
    "ReduceSum": in_single(tf.reduce_sum),
    "ReduceSumSquare": in_single(_sum_square),
}


def _register(name: str, compute: Reduction) -> None:
    @op(name, layout=AxisPolicy.VALUES, since=18 if name != "ReduceSum" else 13)
    def reduce(
        ctx: Context, x: Value, axes: Value | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Value:
        rank = len(x.shape)
        if axes is not None and axes.array is None and axes.shape != (0,):
            return _by_computed_axes(ctx, compute, x, axes, bool(keepdims), bool(noop_with_empty_axes))
        # torch writes the axis 0 for a scalar too (aminmax), and ONNX Runtime ignores it.
        reduced = [] if rank == 0 or axes is None or axes.array is None else [int(a) % rank for a in axes.array.reshape(-1)]
        if not reduced and noop_with_empty_axes:
            return ctx.value(compute(x.stored, [], keepdims=True), x.order)
        reduced = reduced or list(range(rank))
        order = x.order or identity(rank)
        storage_axes = [order.index(axis) for axis in reduced]
        most = min(ranks.REDUCED_AXES[ctx.target], ranks.MOST_AXES["serving"] if name == "ReduceLogSumExp" else 254)
        result = ranks.reduced(compute, x.stored, storage_axes, most, keepdims=bool(keepdims))
        value = ctx.value(result, x.order if keepdims else drop_axes(order, reduced))
        value.non_negative = x.non_negative and name in ("ReduceMean", "ReduceMax", "ReduceSum")
        return value


def _by_computed_axes(ctx: Context, compute: Reduction, x: Value, axes: Value, keepdims: bool, noop: bool) -> Value:
    """Reduce over axes that are known only at run time; their number gives the rank of the result.

    No axes stand for all axes unless `noop`.
    """
    chosen = axes.tensor
    if axes.shape == (None,) and not noop:
        chosen = tf.cond(tf.size(chosen) > 0, lambda: chosen, lambda: tf.range(tf.cast(len(x.shape), chosen.dtype)))
    result = compute(x.tensor, chosen, keepdims=keepdims)
    count = axes.shape[0] if axes.rank == 1 else None
    if keepdims:
        result = tf.ensure_shape(result, [None] * len(x.shape))
    elif count is not None:
        result = tf.ensure_shape(result, [None] * (len(x.shape) - count))
    return ctx.value(result)


for _name, _compute in _REDUCTIONS.items():
    _register(_name, _compute)
