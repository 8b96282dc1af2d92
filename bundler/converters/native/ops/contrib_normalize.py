"""ONNX Runtime's own operators (domain com.microsoft): normalizations fused with what comes before them.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
SimplifiedLayerNormalization, which ONNX calls RMSNormalization, is in ONNX's own domain.
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.ops.delegate import MS, lower, lower_all, sized_like
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value


def _total(ctx: Context, first: Value, *others: Value | None) -> Value:
    """Return the sum, with the sizes of `first`."""
    total = first
    for other in others:
        total = total if other is None else sized_like(ctx, lower(ctx, "Add", total, other), first)
    return total


@op("SkipLayerNormalization", layout=AxisPolicy.VALUES, domain=MS)
def skip_layer_normalization(
    ctx: Context, x: Value, skip: Value, gamma: Value, beta: Value | None = None, bias: Value | None = None, *,
    epsilon: float = 1e-12,
) -> list[Value | None]:  # fmt: skip
    """Lower SkipLayerNormalization of x + skip + bias; returns y, mean, 1 / standard deviation, and that sum."""
    total = _total(ctx, x, skip, bias)
    y, mean, inverse = lower_all(ctx, "LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon)
    return [sized_like(ctx, y, x) if y is not None else None, mean, inverse, total]


@op("SimplifiedLayerNormalization", layout=AxisPolicy.VALUES)
def simplified_layer_normalization(
    ctx: Context, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> list[Value]:
    """Lower SimplifiedLayerNormalization: x over its root mean square; returns y and 1 / root mean square."""
    y = lower(ctx, "RMSNormalization", x, scale, axis=axis, epsilon=epsilon, stash_type=stash_type)
    return [sized_like(ctx, y, x), ctx.value(_inverse_root(x.tensor, axis, epsilon))]


def _inverse_root(x: Tensor, axis: int, epsilon: float) -> Tensor:
    axes = list(range(axis % x.shape.rank, x.shape.rank))
    return tf.math.rsqrt(tf.reduce_mean(tf.square(tf.cast(x, tf.float32)), axes, keepdims=True) + epsilon)


@op("SkipSimplifiedLayerNormalization", layout=AxisPolicy.VALUES, domain=MS)
def skip_simplified_layer_normalization(
    ctx: Context, x: Value, skip: Value, gamma: Value, bias: Value | None = None, *, epsilon: float = 1e-12
) -> list[Value | None]:
    """Lower SkipSimplifiedLayerNormalization of x + skip + bias; returns y, None, 1 / root mean square, and that sum."""
    total = _total(ctx, x, skip, bias)
    y, inverse = simplified_layer_normalization(ctx, total, gamma, epsilon=epsilon)
    return [sized_like(ctx, y, x), None, inverse, total]


@op("EmbedLayerNormalization", layout=AxisPolicy.VALUES, domain=MS)
def embed_layer_normalization(
    ctx: Context, input_ids: Value, segment_ids: Value | None, word_embedding: Value, position_embedding: Value,
    segment_embedding: Value | None, gamma: Value, beta: Value, mask: Value | None = None,
    position_ids: Value | None = None, *, epsilon: float = 1e-12, mask_index_type: int = 0,
) -> list[Value | None]:  # fmt: skip
    """Lower EmbedLayerNormalization: the sum of the embeddings of ids [B, S], normalised.

    Returns [B, S, H], the number of words [B] int32, and the sum before the normalization.
    """
    words = lower(ctx, "Gather", word_embedding, input_ids, axis=0)
    positions = position_embedding.tensor[: tf.shape(input_ids.tensor)[1]][None]
    if position_ids is not None:
        positions = tf.gather(position_embedding.tensor, position_ids.tensor)
    total = ctx.value(words.tensor + positions)
    if segment_ids is not None and segment_embedding is not None:
        total = ctx.value(total.tensor + tf.gather(segment_embedding.tensor, segment_ids.tensor))
    total.dim_names = (*_dim_names(ctx, input_ids), None)
    normal = lower(ctx, "LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon)
    count = tf.zeros_like(input_ids.tensor[:, 0]) if mask is None else tf.reduce_sum(mask.tensor, 1)
    return [sized_like(ctx, normal, total), ctx.value(tf.cast(count, tf.int32)), total]


def _dim_names(ctx: Context, x: Value) -> tuple[str | None, ...]:
    return tuple(None if isinstance(size, int) else size.name for size in ctx.sizes(x))


@op("GroupNorm", layout=AxisPolicy.VALUES, domain=MS)
def group_norm(
    ctx: Context, x: Value, gamma: Value, beta: Value, *, activation: int, channels_last: int = 1, epsilon: float = 1e-5,
    groups: int,
) -> Value:  # fmt: skip
    """Lower GroupNorm of x [N, H, W, C], or [N, C, H, W] without channels_last; activation 1 is SiLU."""
    data = lower(ctx, "Transpose", x, perm=[0, 3, 1, 2]) if channels_last else x
    scale, offset = (v if v.dtype == x.dtype else ctx.value(tf.cast(v.tensor, x.dtype)) for v in (gamma, beta))
    result = lower(ctx, "GroupNormalization", data, scale, offset, epsilon=epsilon, num_groups=groups)
    result = lower(ctx, "Swish", result) if activation else result
    return sized_like(ctx, lower(ctx, "Transpose", result, perm=[0, 2, 3, 1]) if channels_last else result, x)


@op("SkipGroupNorm", layout=AxisPolicy.VALUES, domain=MS)
def skip_group_norm(
    ctx: Context, x: Value, gamma: Value, beta: Value, skip: Value, bias: Value | None = None, *, activation: int,
    channels_last: int = 1, epsilon: float = 1e-5, groups: int,
) -> list[Value]:  # fmt: skip
    """Lower SkipGroupNorm: GroupNorm of x + skip + bias, and that sum; skip may be [N, 1, 1, C] or [N, C], bias is [C]."""
    added = [ctx.value(_by_channel(v.tensor, bool(channels_last))) for v in (skip, bias) if v is not None]
    total = _total(ctx, x, *added)
    normal = group_norm(
        ctx, total, gamma, beta, activation=activation, channels_last=channels_last, epsilon=epsilon, groups=groups
    )
    return [normal, total]


def _by_channel(x: Tensor, channels_last: bool) -> Tensor:
    """Reshape [C] or [N, C] so that it broadcasts over an image."""
    if x.shape.rank == 4:
        return x
    rows = x if x.shape.rank == 2 else x[None]
    return rows[:, None, None, :] if channels_last else rows[:, :, None, None]
