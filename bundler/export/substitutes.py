"""Substitutes, during an export, for functions that torch's ONNX exporter does not support or exports badly.

1. `embedding_bag` becomes a look-up and a reduction (2-D input), or a look-up and a sum per bag (1-D input and offsets).
   torch 2.13 writes a Loop that gathers a sequence of bags, one step per bag.
2. `cdist` becomes differences and a norm: torch 2.13 cannot export it (`aten._cdist_forward`).
3. In attention of many query heads over one head of keys and values, that head is repeated: torch writes ONNX's Attention
   for equal numbers only (`SDPA (MHA) requires q_num_heads = kv_num_heads`), unless the model sets `enable_gqa`.
4. Fake quantization becomes its own arithmetic: torch 2.13 cannot trace it (`no fake impl or Meta kernel`).

A substitute has the parameters of torch's function. It returns NotImplemented for calls that it does not support
(`max_norm`, which changes the weights; the maximum of bags by offsets); these are left to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Substitutes(TorchFunctionMode):
    """A context in which the substitutes are called."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        substitute = _SUBSTITUTES.get(func)
        result = NotImplemented if substitute is None else substitute(*args, **keywords)
        return func(*args, **keywords) if result is NotImplemented else result


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    *,
    offsets: Tensor | None = None,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    padding_idx: int | None = None,
    **options: Any,
) -> Any:
    # Of the other options, norm_type, scale_grad_by_freq and sparse do not change the result without max_norm.
    if options.get("max_norm") is not None or (input.dim() == 1 and (mode == "max" or offsets is None)):
        return NotImplemented
    counted = torch.ones_like(input, dtype=weight.dtype)
    if padding_idx is not None:
        counted = (input != padding_idx % weight.shape[0]).to(weight.dtype)
    rows = functional.embedding(input, weight)
    if mode == "max":
        return _largest(rows, counted if padding_idx is not None else None)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    rows = rows * counted.unsqueeze(-1) if padding_idx is not None else rows
    if input.dim() == 2:
        total, count = rows.sum(1), counted.sum(1, keepdim=True)
    else:
        assert offsets is not None
        total, count = _by_offsets(rows, counted, offsets[:-1] if options.get("include_last_offset") else offsets)
    return total if mode == "sum" else total / count.clamp(min=1)


def _largest(rows: Tensor, counted: Tensor | None) -> Tensor:
    """Return the maximum of each bag over the rows that count, or zeros for a bag in which none does."""
    if counted is None:
        return rows.amax(1)
    has_rows = counted.amax(1, keepdim=True) > 0
    largest = rows.masked_fill(counted.unsqueeze(-1) == 0, float("-inf")).amax(1)
    return torch.where(has_rows, largest, torch.zeros_like(largest))


def _by_offsets(rows: Tensor, counted: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums and counts of the bags that start at `offsets`. A row belongs to the last bag that does not start after it."""
    positions = torch.arange(rows.shape[0], dtype=offsets.dtype, device=offsets.device)
    bags = (positions[:, None] >= offsets[None]).sum(1) - 1
    empty = rows.new_zeros(offsets.shape[0], rows.shape[1])
    counts = rows.new_zeros(offsets.shape[0]).index_add(0, bags, counted)
    return empty.index_add(0, bags, rows), counts[:, None]


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    distance = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    if p == 2:
        return distance.square().sum(-1).sqrt()
    if p == 1:
        return distance.sum(-1)
    if p == float("inf"):
        return distance.amax(-1)
    if p == 0:
        return (distance != 0).to(distance.dtype).sum(-1)
    return distance.pow(p).sum(-1).pow(1 / p)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if query.dim() != 4 or enable_gqa or key.shape[1] != 1 or query.shape[1] == 1:
        return NotImplemented
    key, value = (part.expand(-1, query.shape[1], -1, -1) for part in (key, value))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)


def _fake_quantize_tensor(
    input: Tensor, scale: float | Tensor, zero_point: int | Tensor, quant_min: int, quant_max: int
) -> Tensor:
    if isinstance(scale, float):
        step = np.float32(scale)
        return _fake_quantized(input, float(step), float(np.float32(1) / step), zero_point, (quant_min, quant_max))
    return _fake_quantized(input, scale, 1 / scale, zero_point, (quant_min, quant_max))


def _fake_quantize_channel(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    shape = [-1 if dim == axis % input.dim() else 1 for dim in range(input.dim())]
    scale, zero_point = scale.view(shape), zero_point.view(shape)
    return _fake_quantized(input, scale, 1 / scale, zero_point, (quant_min, quant_max))


def _fake_quantized(
    x: Tensor, scale: float | Tensor, inverse: float | Tensor, zero: int | Tensor, limits: tuple[int, int]
) -> Tensor:
    """Round as torch's kernel does: the input times the inverse of the scale, halves to even, then add the zero point."""
    return ((torch.round(x * inverse) + zero).clamp(*limits) - zero) * scale


_SUBSTITUTES: dict[Any, Callable[..., Any]] = {
    functional.embedding_bag: _embedding_bag,
    functional.scaled_dot_product_attention: _attention,
    torch.cdist: _cdist,
    torch.fake_quantize_per_tensor_affine: _fake_quantize_tensor,
    torch.fake_quantize_per_channel_affine: _fake_quantize_channel,
}
