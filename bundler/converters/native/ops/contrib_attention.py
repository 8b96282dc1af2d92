"""ONNX Runtime's own operators (domain com.microsoft): attention.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
They differ in how operands are packed and masks are written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.dims import tensor_shape
from bundler.converters.native.ops.delegate import MS, lower, lower_all, sized_like
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

_MASKED = -10000.0
"""Added to the score of a masked key, unless mask_filter_value says otherwise."""


def _attend(
    ctx: Context, operands: tuple[Value, Value, Value], bias: Tensor | None, past: tuple[Value | None, Value | None], *,
    heads: int, causal: int, scale: float | None,
) -> list[Value]:  # fmt: skip
    """Lower ONNX's Attention with `bias` added to the scores [B, N, S, T]; return its Y, present keys and present values."""
    query = operands[0]
    mask = None if bias is None else ctx.value(tf.cast(bias, query.dtype))
    results = lower_all(
        ctx, "Attention", *operands, mask, *past, q_num_heads=heads, kv_num_heads=heads, is_causal=causal,
        scale=scale or None,
    )  # fmt: skip
    present = [r for r in results[:3] if r is not None]
    return [sized_like(ctx, present[0], query), *present[1:]]


def _bias(
    mask: Value | None, extra: Value | None, batch: Tensor, length: Tensor, total: Tensor, masked: float
) -> Tensor | None:
    """Return what is added to the scores, [B, 1, 1 or S, T]: `masked` for a key that is not seen, and the attention bias.

    Raises:
        ValueError: the mask has an unknown form.
    """
    if mask is None:
        return None if extra is None else extra.tensor
    seen = _seen(mask.tensor, batch, length, total)
    bias = tf.where(seen, tf.constant(0.0), tf.constant(masked, tf.float32))
    return bias if extra is None else bias + tf.cast(extra.tensor, tf.float32)


def _seen(mask: Tensor, batch: Tensor, length: Tensor, total: Tensor) -> Tensor:
    """Return which keys are seen, a bool that broadcasts over [B, N, S, T], from a mask in one of these forms.

    [B]                 the number of keys that are seen
    [2 * B]             their ends, then their beginnings
    [B, T]              1 for a key that is seen
    [B, S, T]           the same for each query
    [B, 1, max, max]    the same for the longest sequence
    """
    rank = mask.shape.rank
    if rank == 1:
        padded = tf.concat([tf.cast(mask, tf.int32), tf.zeros([batch], tf.int32)], 0)
        keys = tf.range(total)
        ends, begins = (tf.reshape(part, [-1, 1, 1, 1]) for part in (padded[:batch], padded[batch : 2 * batch]))
        return tf.logical_and(keys < ends, keys >= begins)
    if rank == 4:
        mask = mask[:, :, total - length : total, :total]
    elif rank in (2, 3):
        mask = tf.reshape(mask, [-1, 1, 1, tf.shape(mask)[1]]) if rank == 2 else mask[:, None]
    else:
        raise ValueError(f"its mask must have rank 1 to 4, got rank {rank}")
    return mask if mask.dtype == tf.bool else mask > 0


# -- Attention, QAttention -------------------------------------------------------------------------------------------


@op("Attention", layout=AxisPolicy.VALUES, domain=MS)
def attention(
    ctx: Context, x: Value, weights: Value, bias: Value | None = None, mask_index: Value | None = None,
    past: Value | None = None, attention_bias: Value | None = None, past_sequence_length: Value | None = None, *,
    do_rotary: int = 0, mask_filter_value: float = _MASKED, num_heads: int, past_present_share_buffer: int = 0,
    qkv_hidden_sizes: Sequence[int] | None = None, rotary_embedding_dim: int = 0, scale: float | None = None,
    unidirectional: int = 0,
) -> list[Value]:  # fmt: skip
    """Lower Attention: project x [B, S, C] by weights [C, Q + K + V] and attend.

    Returns [B, S, V], and present keys and values [2, B, N, T, D].
    """
    if do_rotary or past_present_share_buffer:
        raise ctx.reject("Attention (com.microsoft) with do_rotary or a shared buffer is not supported.")
    projected = lower(ctx, "Linear", x, weights, bias, domain="tfbundle")
    sizes = list(qkv_hidden_sizes or [projected.shape[-1] // 3] * 3)  # type: ignore[operator]
    query, key, value = (sized_like(ctx, ctx.value(part), x) for part in tf.split(projected.tensor, sizes, -1))
    length = tf.shape(query.tensor)[1]
    past_keys_values: tuple[Value | None, Value | None] = (None, None)
    total = length
    if past is not None:
        past_keys_values = (ctx.value(past.tensor[0]), ctx.value(past.tensor[1]))
        total = length + tf.shape(past.tensor)[3]
    added = _bias(mask_index, attention_bias, tf.shape(query.tensor)[0], length, total, mask_filter_value)
    y, *present = _attend(
        ctx, (query, key, value), added, past_keys_values, heads=num_heads, causal=unidirectional, scale=scale
    )
    if present[0].shape[-1] != present[1].shape[-1]:  # keys and values do not fit into one tensor
        return [y]
    return [y, ctx.value(tf.stack([v.tensor for v in present]))]


@op("QAttention", layout=AxisPolicy.VALUES, domain=MS)
def q_attention(
    ctx: Context, x: Value, weight: Value, bias: Value, x_scale: Value, weight_scale: Value,
    mask_index: Value | None = None, x_zero: Value | None = None, weight_zero: Value | None = None,
    past: Value | None = None, *, do_rotary: int = 0, mask_filter_value: float = _MASKED, num_heads: int,
    past_present_share_buffer: int = 0, scale: float | None = None, unidirectional: int = 0,
) -> list[Value]:  # fmt: skip
    """Lower QAttention: Attention over quantized operands; the products are computed in floating point."""
    data = sized_like(ctx, lower(ctx, "DequantizeLinear", x, x_scale, x_zero), x)
    matrix = lower(ctx, "DequantizeLinear", weight, weight_scale, weight_zero, axis=1)
    return attention(
        ctx, data, matrix, bias, mask_index, past, do_rotary=do_rotary, mask_filter_value=mask_filter_value,
        num_heads=num_heads, past_present_share_buffer=past_present_share_buffer, scale=scale,
        unidirectional=unidirectional,
    )  # fmt: skip


# -- MultiHeadAttention ----------------------------------------------------------------------------------------------


@op("MultiHeadAttention", layout=AxisPolicy.VALUES, domain=MS)
def multi_head_attention(
    ctx: Context, query: Value, key: Value | None = None, value: Value | None = None, bias: Value | None = None,
    key_padding_mask: Value | None = None, attention_bias: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, past_sequence_length: Value | None = None, cache_indirection: Value | None = None, *,
    mask_filter_value: float = _MASKED, num_heads: int, scale: float | None = None, unidirectional: int = 0,
) -> list[Value]:  # fmt: skip
    """Lower MultiHeadAttention; returns [B, S, V], present keys and values [B, N, T, D].

    The operands are query [B, S, H], key [B, L, H] and value [B, L, V]; or all packed as [B, S, N, 3, D]; or query
    [B, S, H] and the others packed as [B, L, N, 2, D]; or key and value are projected already, [B, N, L, D].
    """
    if cache_indirection is not None or past_sequence_length is not None:
        raise ctx.reject("MultiHeadAttention with a shared buffer is not supported.")
    q, k, v = _unpacked(ctx, query, key, value)
    if bias is not None:
        q, k, v = _biased(ctx, (q, k, v), bias)
    if k.rank == 4:  # ONNX's Attention takes all operands in the same form
        q = _by_heads(ctx, q, num_heads)
    total = tf.shape(k.tensor)[k.rank - 2]  # type: ignore[operator]
    if past_key is not None:
        total += tf.shape(past_key.tensor)[2]
    length = tf.shape(q.tensor)[q.rank - 2]  # type: ignore[operator]
    added = _bias(key_padding_mask, attention_bias, tf.shape(q.tensor)[0], length, total, mask_filter_value)
    y, *present = _attend(
        ctx, (q, k, v), added, (past_key, past_value), heads=num_heads, causal=unidirectional, scale=scale
    )
    return [_joined(ctx, y) if q.rank == 4 else y, *present]


def _unpacked(ctx: Context, query: Value, key: Value | None, value: Value | None) -> tuple[Value, Value, Value]:
    """Return query, key and value as separate tensors."""
    if key is not None and value is not None:
        return query, key, value
    packed = query if key is None else key
    batch, length, heads, _, width = ctx.sizes(packed)
    assert isinstance(heads, int)
    assert isinstance(width, int)
    parts = [
        ctx.value(tf.reshape(part, tensor_shape([batch, length, heads * width])))
        for part in tf.unstack(packed.tensor, axis=3)
    ]
    return (parts[0], parts[1], parts[2]) if key is None else (query, parts[0], parts[1])


def _biased(ctx: Context, operands: tuple[Value, Value, Value], bias: Value) -> tuple[Value, Value, Value]:
    """Add its part of the bias to each operand; keys and values of rank 4 already have theirs."""
    start, results = 0, []
    for x in operands:
        if x.rank == 4:
            results.append(x)
            continue
        width = x.shape[-1]
        assert width is not None
        results.append(sized_like(ctx, ctx.value(x.tensor + bias.tensor[start : start + width]), x))
        start += width
    return results[0], results[1], results[2]


def _by_heads(ctx: Context, x: Value, heads: int) -> Value:
    """Split [B, S, N * D] into [B, N, S, D]."""
    batch, length, width = ctx.sizes(x)
    assert isinstance(width, int)
    split = tf.reshape(x.tensor, tensor_shape([batch, length, heads, width // heads]))
    return ctx.value(tf.transpose(split, [0, 2, 1, 3]))


def _joined(ctx: Context, x: Value) -> Value:
    """Merge [B, N, S, D] into [B, S, N * D]."""
    batch, heads, length, width = ctx.sizes(x)
    assert isinstance(heads, int)
    assert isinstance(width, int)
    moved = tf.transpose(x.tensor, [0, 2, 1, 3])
    return ctx.value(tf.reshape(moved, tensor_shape([batch, length, heads * width])))


# -- RotaryEmbedding, GroupQueryAttention ----------------------------------------------------------------------------


@op("RotaryEmbedding", layout=AxisPolicy.VALUES, domain=MS)
def rotary_embedding(
    ctx: Context, x: Value, position_ids: Value, cos_cache: Value, sin_cache: Value, *, interleaved: int = 0,
    is_packed_batching: int = 0, num_heads: int = 0, rotary_embedding_dim: int = 0, scale: float = 1.0,
) -> Value:  # fmt: skip
    """Lower RotaryEmbedding of x [B, S, H] or [B, N, S, D], with caches [positions, R / 2].

    position_ids is [B, S], or [1] with the position of the first token.
    """
    if is_packed_batching or scale != 1.0:
        raise ctx.reject("RotaryEmbedding (com.microsoft) with packed batches or a scale is not supported.")
    positions = position_ids.tensor
    if position_ids.rank == 1:
        length = tf.shape(x.tensor)[1 if x.rank == 3 else 2]
        positions = (positions + tf.range(tf.cast(length, positions.dtype)))[None]
    width = cos_cache.shape[-1]
    assert width is not None
    heads = num_heads or (x.shape[-1] or 0) // (2 * width)
    rotated = lower(
        ctx, "RotaryEmbedding", x, cos_cache, sin_cache, ctx.value(positions), interleaved=interleaved, num_heads=heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )  # fmt: skip
    return sized_like(ctx, rotated, x)


@op("GroupQueryAttention", layout=AxisPolicy.VALUES, domain=MS)
def group_query_attention(
    ctx: Context, query: Value, key: Value | None, value: Value | None, past_key: Value | None, past_value: Value | None,
    seqlens_k: Value, total_sequence_length: Value, cos_cache: Value | None = None, sin_cache: Value | None = None,
    position_ids: Value | None = None, attention_bias: Value | None = None, *, do_rotary: int = 0, kv_num_heads: int,
    causal: int = 1, local_window_size: int = -1, num_heads: int, rotary_interleaved: int = 0, scale: float | None = None,
    smooth_softmax: int = -1, softcap: float = 0.0,
) -> list[Value]:  # fmt: skip
    """Lower GroupQueryAttention; returns [B, S, N * D], present keys and values.

    query is [B, S, N * D], key and value are [B, S, K * D], or all are packed in query; the past is [B, K, P, D].
    seqlens_k [B] is the number of keys of each row minus 1. New keys follow the row's past ones; the present [B, K, T, D]
    is as long as the past, or as total_sequence_length if that is longer.
    """
    if smooth_softmax > 0 or not causal:
        raise ctx.reject("GroupQueryAttention with smooth_softmax or without a causal mask is not supported.")
    q, k, v = _split_query(ctx, query, key, value, num_heads, kv_num_heads)
    length = tf.shape(q.tensor)[2]
    past_lengths = tf.maximum(tf.cast(tf.reshape(seqlens_k.tensor, [-1]), tf.int32) + 1 - length, 0)
    positions = past_lengths[:, None] + tf.range(length)[None]
    if do_rotary:
        rotary_positions = ctx.value(positions) if position_ids is None else position_ids
        q, k = (
            lower(ctx, "RotaryEmbedding", x, cos_cache, sin_cache, rotary_positions, interleaved=rotary_interleaved,
                  rotary_embedding_dim=_rotary_dim(cos_cache, x))
            for x in (q, k)
        )  # fmt: skip
    total = tf.cast(tf.reshape(total_sequence_length.tensor, []), tf.int32)
    k, v = (_appended(ctx, p, x, past_lengths, total) for p, x in ((past_key, k), (past_value, v)))
    distance = positions[:, None, :, None] - tf.range(tf.shape(k.tensor)[2])
    allowed = distance >= 0
    if local_window_size >= 0:
        allowed = tf.logical_and(allowed, distance < local_window_size)
    scores = tf.where(allowed, tf.zeros([], q.dtype), tf.constant(-np.inf, q.dtype))
    if attention_bias is not None:
        scores += _padded(attention_bias.tensor, tf.shape(k.tensor)[2])
    y = lower(ctx, "Attention", q, k, v, ctx.value(scores), scale=scale or None, softcap=softcap)
    return [sized_like(ctx, _joined(ctx, y), query), k, v]


def _split_query(
    ctx: Context, query: Value, key: Value | None, value: Value | None, heads: int, shared: int
) -> tuple[Value, Value, Value]:
    """Return query, key and value, each as [B, heads, S, D]."""
    if key is None or value is None:
        width = (query.shape[-1] or 0) // (heads + 2 * shared)
        parts = tf.split(query.tensor, [heads * width, shared * width, shared * width], -1)
        query, key, value = (sized_like(ctx, ctx.value(part), query) for part in parts)
    return _by_heads(ctx, query, heads), _by_heads(ctx, key, shared), _by_heads(ctx, value, shared)


def _rotary_dim(cache: Value | None, x: Value) -> int:
    """Return how much of a head is rotated; 0 for all of it."""
    width = 2 * (cache.shape[-1] or 0) if cache is not None else 0
    return 0 if width == x.shape[-1] else width


def _appended(ctx: Context, past: Value | None, new: Value, past_lengths: Tensor, total: Tensor) -> Value:
    """Return [B, K, T, D]: the first `past_lengths` [B] of the past, then the new ones, then zeros."""
    if past is None:
        return new
    size = tf.maximum(tf.shape(past.tensor)[2], total)
    old = tf.pad(past.tensor, [[0, 0], [0, 0], [0, size - tf.shape(past.tensor)[2]], [0, 0]])
    count = tf.shape(new.tensor)[2]
    index = tf.range(size)[None] - past_lengths[:, None]
    moved = tf.gather(tf.transpose(new.tensor, [0, 2, 1, 3]), tf.clip_by_value(index, 0, count - 1), batch_dims=1)
    appended = tf.where((index < count)[:, None, :, None], tf.transpose(moved, [0, 2, 1, 3]), tf.zeros([], old.dtype))
    return ctx.value(tf.where((index < 0)[:, None, :, None], old, appended))


def _padded(bias: Tensor, size: Tensor) -> Tensor:
    """Pad an attention bias with zeros for the unused end of the cache."""
    return tf.pad(bias, [[0, 0], [0, 0], [0, 0], [0, size - tf.shape(bias)[3]]])
