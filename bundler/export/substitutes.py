"""Functions of torch that its ONNX exporter has no form of, or a poor one, written with others while a model is exported.

1. `embedding_bag` becomes a look-up and a reduction (2-D input), or a look-up and a sum by bag (1-D input and offsets).
   torch 2.13 writes a Loop that gathers a sequence of bags, one step a bag.
2. `cdist` becomes differences and a norm: torch 2.13 has no ONNX form of it (`aten._cdist_forward`).
3. Attention of many query heads over one head of keys and values gets as many of them: torch writes ONNX's Attention
   for equal numbers only (`SDPA (MHA) requires q_num_heads = kv_num_heads`), unless the model says `enable_gqa`.
4. Fake quantization becomes its own arithmetic: torch 2.13 cannot trace it (`no fake impl or Meta kernel`).

A substitute has the parameters of torch's function. What it does not know (`max_norm`, which changes the weights; the
maximum of bags by offsets) it answers with NotImplemented, and leaves to torch.
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
    """Calls the substitutes within its context."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        substitute = _SUBSTITUTES.get(func)
        answer = NotImplemented if substitute is None else substitute(*args, **given)
        return func(*args, **given) if answer is NotImplemented else answer


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    if max_norm is not None or (input.dim() == 1 and (mode == "max" or offsets is None)):
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
        total, count = _by_offsets(rows, counted, offsets[:-1] if include_last_offset else offsets)
    return total if mode == "sum" else total / count.clamp(min=1)


def _largest(rows: Tensor, counted: Tensor | None) -> Tensor:
    """The maximum of each bag over the rows that count; zeros where none does."""
    if counted is None:
        return rows.amax(1)
    some = counted.amax(1, keepdim=True) > 0
    largest = rows.masked_fill(counted.unsqueeze(-1) == 0, float("-inf")).amax(1)
    return torch.where(some, largest, torch.zeros_like(largest))


def _by_offsets(rows: Tensor, counted: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and counts of the bags that begin at `offsets`: a row is in the last bag that does not begin after it."""
    places = torch.arange(rows.shape[0], dtype=offsets.dtype, device=offsets.device)
    bags = (places[:, None] >= offsets[None]).sum(1) - 1
    empty = rows.new_zeros(offsets.shape[0], rows.shape[1])
    counts = rows.new_zeros(offsets.shape[0]).index_add(0, bags, counted)
    return empty.index_add(0, bags, rows), counts[:, None]


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    apart = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    if p == 2:
        return apart.square().sum(-1).sqrt()
    if p == 1:
        return apart.sum(-1)
    if p == float("inf"):
        return apart.amax(-1)
    if p == 0:
        return (apart != 0).to(apart.dtype).sum(-1)
    return apart.pow(p).sum(-1).pow(1 / p)


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
        one = np.float32(scale)
        return _fake_quantized(input, float(one), float(np.float32(1) / one), zero_point, (quant_min, quant_max))
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
    """As torch's kernel rounds it: the input times the inverse of the scale, halves to even, then the zero point."""
    return ((torch.round(x * inverse) + zero).clamp(*limits) - zero) * scale


_SUBSTITUTES: dict[Any, Callable[..., Any]] = {
    functional.embedding_bag: _embedding_bag,
    functional.scaled_dot_product_attention: _attention,
    torch.cdist: _cdist,
    torch.fake_quantize_per_tensor_affine: _fake_quantize_tensor,
    torch.fake_quantize_per_channel_affine: _fake_quantize_channel,
}
