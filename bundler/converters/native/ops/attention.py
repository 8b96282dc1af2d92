"""Scaled dot-product attention and rotary embeddings.

https://onnx.ai/onnx/operators/onnx__Attention.html, https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native import products
from bundler.converters.native.context import Context
from bundler.converters.native.dims import tensor_shape
from bundler.converters.native.ops.dtypes import tensor_dtype
from bundler.converters.native.ops.half import single
from bundler.converters.native.ops.moves import moved
from bundler.converters.native.ops.normalize import softmax
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value

_WITH_CAP, _WITH_BIAS, _PROBABILITIES = 1, 2, 3
"""Values of qk_matmul_output_mode, which selects the fourth output; 0 is the plain product."""


@op("Attention", layout=AxisPolicy.VALUES, since=23)
def attention(
    ctx: Context, q: Value, k: Value, v: Value, attn_mask: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, nonpad_kv_seqlen: Value | None = None, *, is_causal: int = 0,
    kv_num_heads: int | None = None, left_window_size: int = -1, q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0, right_window_size: int = -1, scale: float | None = None, softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> list[Value]:  # fmt: skip
    """Lower Attention: softmax(q @ k' * scale + mask) @ v.

    q is [B, Hq, S, D] or [B, S, Hq*D], k and v likewise with Hkv heads. Returns Y like q, present keys and values, and q @ k'.
    """
    flat = q.rank == 3
    query, key, value = (_heads(ctx, x, n) for x, n in ((q, q_num_heads), (k, kv_num_heads), (v, kv_num_heads)))
    offset = tf.constant(0)
    if past_key is not None and past_value is not None:
        offset = tf.shape(past_key.tensor)[2]
        key, value = tf.concat([past_key.tensor, key], 2), tf.concat([past_value.tensor, value], 2)
    present = [ctx.value(key), ctx.value(value)]
    key, value = _shared_by_groups(query, key), _shared_by_groups(query, value)
    dtype, query, key, value = query.dtype, single(query), single(key), single(value)
    product = _product(query, key, scale)
    capped = product if not softcap else softcap * tf.tanh(product / softcap)
    lengths = None if nonpad_kv_seqlen is None else tf.cast(nonpad_kv_seqlen.tensor, tf.int32)
    allowed = _allowed_by_position(query, key, offset, lengths, bool(is_causal), left_window_size, right_window_size)
    fits = attn_mask is not None and past_key is None and ctx.sizes(attn_mask)[-1] == ctx.sizes(k)[-2]
    bias = _bias(attn_mask, allowed, key, dtype, fits=fits)
    bias = bias if bias is None else single(bias)
    biased = capped if bias is None else capped + bias
    sees_a_key = attn_mask is None and lengths is None and right_window_size < 0
    if ctx.target == "tflite" and bias is not None and qk_matmul_output_mode != _PROBABILITIES and softmax_precision is None:
        probabilities = _softmax_of_finite(capped, bias)
    else:
        probabilities = _softmax(biased, None if sees_a_key else bias, softmax_precision)
    modes = {_WITH_CAP: capped, _WITH_BIAS: biased, _PROBABILITIES: probabilities}
    intermediate = tf.cast(modes.get(qk_matmul_output_mode, product), dtype)
    result = tf.cast(products.matmul(tf.cast(probabilities, value.dtype), value), dtype)
    return [ctx.value(_merged(ctx, result) if flat else result), *present, ctx.value(intermediate)]


def _heads(ctx: Context, x: Value, heads: int | None) -> Tensor:
    """Split [B, S, H*D] into [B, H, S, D]."""
    if x.rank == 4:
        return x.tensor
    if not heads:
        raise ctx.reject("Attention over inputs of rank 3 needs the attributes q_num_heads and kv_num_heads.")
    batch, length, width = ctx.sizes(x)
    if not isinstance(width, int):
        raise ctx.reject(
            "Attention over inputs of rank 3 is supported only if their last size is fixed; the limit is tfbundle's.",
            fix="export the model with a fixed width of the embedding; batch and length may be dynamic",
        )
    split = tf.reshape(x.tensor, tensor_shape([batch, length, heads, width // heads]))
    return moved(ctx, split, [0, 2, 1, 3])


def _merged(ctx: Context, x: Tensor) -> Tensor:
    """Merge [B, H, S, D] into [B, S, H*D]."""
    heads, width = x.shape[1], x.shape[3]
    rows = moved(ctx, x, [0, 2, 1, 3])
    return tf.reshape(rows, tf.concat([tf.shape(rows)[:2], [heads * width]], 0))


def _shared_by_groups(query: Tensor, x: Tensor) -> Tensor:
    """Repeat the heads of x for grouped-query attention, where neighbouring query heads share a head."""
    groups = query.shape[1] // x.shape[1]
    return x if groups == 1 else tf.repeat(x, groups, 1)


def _product(query: Tensor, key: Tensor, scale: float | None) -> Tensor:
    """Compute q @ k' * scale, in float32 or float64."""
    factor = 1.0 / np.sqrt(query.shape[3]) if scale is None else scale
    if factor == 1.0:  # FuseAttention has folded the scale into the weights
        return products.matmul(query, key, transpose_b=True)
    return products.matmul(query * tf.constant(factor, query.dtype), key, transpose_b=True)


def _allowed_by_position(
    query: Tensor, key: Tensor, offset: Tensor, lengths: Tensor | None, causal: bool, left: int, right: int
) -> Tensor | None:
    """Return which keys a query may see by position, bool [S, T] or [B, 1, S, T]; None for all.

    Query i has the absolute position offset + i: after the past, or at the end of a cache of which `lengths` are in use.
    """
    if not causal and left < 0 and right < 0:
        allowed = None
    else:
        start = offset if lengths is None else tf.reshape(lengths - tf.shape(query)[2], [-1, 1, 1, 1])
        distance = tf.range(tf.shape(query)[2])[:, None] + start - tf.range(tf.shape(key)[2])[None, :]
        limits = [distance >= 0] if causal else []
        limits += [distance <= left] if left >= 0 else []
        limits += [-distance <= right] if right >= 0 else []
        allowed = tf.reduce_all(tf.stack(limits), 0) if len(limits) > 1 else limits[0]
    if lengths is None:
        return allowed
    filled = tf.range(tf.shape(key)[2]) < tf.reshape(lengths, [-1, 1, 1, 1])
    return filled if allowed is None else tf.logical_and(allowed, filled)


def _bias(mask: Value | None, allowed: Tensor | None, key: Tensor, dtype: tf.DType, *, fits: bool) -> Tensor | None:
    """Return what is added to the scores: the mask, padded at its end if it is too short, and -inf where not allowed.

    `fits` says that the mask is known to be as long as the keys.
    """
    bias = None
    if mask is not None:
        missing = tf.shape(key)[2] - tf.shape(mask.tensor)[-1]
        padded = mask.tensor
        if not fits and (mask.shape[-1] is None or mask.shape[-1] != key.shape[2]):
            pads = [[0, 0]] * (len(mask.shape) - 1) + [[0, missing]]
            padded = tf.pad(padded, pads, constant_values=False if mask.dtype == tf.bool else mask.dtype.min)
            outside = tf.range(tf.shape(key)[2]) >= tf.shape(mask.tensor)[-1]
            padded = padded if mask.dtype == tf.bool else tf.where(outside, tf.constant(-np.inf, mask.dtype), padded)
        bias = _infinite_unless(padded, dtype) if mask.dtype == tf.bool else padded
    if allowed is None:
        return bias
    limits = _infinite_unless(allowed, dtype)
    return limits if bias is None else bias + limits


def _infinite_unless(allowed: Tensor, dtype: tf.DType) -> Tensor:
    return tf.where(allowed, tf.zeros([], dtype), tf.constant(-np.inf, dtype))


def _softmax(scores: Tensor, bias: Tensor | None, precision: int | None) -> Tensor:
    """Compute the softmax, zero for a query that sees no key: its row of the bias is all -inf."""
    probabilities = tf.cast(softmax(tf.cast(scores, tensor_dtype(precision) if precision else scores.dtype)), scores.dtype)
    if bias is None:
        return probabilities
    blind = tf.equal(tf.reduce_max(bias, -1, keepdims=True), tf.constant(-np.inf, bias.dtype))
    return tf.where(blind, tf.zeros([], probabilities.dtype), probabilities)


@op("MaskedSoftmax", domain="tfbundle")
def masked_softmax(ctx: Context, scores: Tensor, bias: Tensor) -> Tensor:
    """Lower MaskedSoftmax (made by fuse_masked_softmax): softmax of scores + bias, zero where a row of the bias is all -inf."""
    return _softmax_of_finite(scores, bias) if ctx.target == "tflite" else _softmax(scores + bias, bias, None)


_LOWEST = -1e30
"""So low that a score makes no difference, and its sum with any score is finite."""


def _softmax_of_finite(scores: Tensor, bias: Tensor) -> Tensor:
    """Compute the same as `_softmax` without a test of each probability, which XNNPACK does not support.

    The rows that see no key follow from the mask alone, and TFLite's converter merges them between layers.
    """
    lowest = tf.constant(_LOWEST if bias.dtype.size > 2 else bias.dtype.min / 2, bias.dtype)
    sees = tf.cast(tf.reduce_max(bias, -1, keepdims=True) > tf.constant(-np.inf, bias.dtype), scores.dtype)
    return softmax(scores + tf.cast(tf.maximum(bias, lowest), scores.dtype)) * sees


@op("RotaryEmbedding", layout=AxisPolicy.VALUES, since=23)
def rotary_embedding(
    ctx: Context, x: Value, cos_cache: Value, sin_cache: Value, position_ids: Value | None = None, *,
    interleaved: int = 0, num_heads: int = 0, rotary_embedding_dim: int = 0,
) -> Value:  # fmt: skip
    """Lower RotaryEmbedding: rotate pairs of x's last axis by the angles of their positions.

    x is [B, H, S, D] or [B, S, H*D]; the caches are [positions, R/2], or [B, S, R/2] without position_ids. R defaults to D.
    """
    flat = x.rank == 3
    data = _heads(ctx, x, num_heads)
    width = rotary_embedding_dim or data.shape[-1]
    cos, sin = (_by_position(cache, position_ids) for cache in (cos_cache, sin_cache))
    turned, rest = data[..., :width], data[..., width:]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = tf.split(turned, 2, -1)
    real, imaginary = cos * first - sin * second, sin * first + cos * second
    if interleaved:
        joined = tf.reshape(tf.stack([real, imaginary], -1), tf.shape(turned))
        joined = tf.ensure_shape(joined, turned.shape)
    else:
        joined = tf.concat([real, imaginary], -1)
    result = joined if width == data.shape[-1] else tf.concat([joined, rest], -1)
    return ctx.value(_merged(ctx, result) if flat else result)


def _by_position(cache: Value, positions: Value | None) -> Tensor:
    """Return the cache's rows for the positions, [B, 1, S, R/2]."""
    rows = cache.tensor if positions is None else tf.gather(cache.tensor, positions.tensor)
    return tf.expand_dims(rows, 1)
