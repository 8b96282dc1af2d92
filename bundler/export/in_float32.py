"""Runs a half-precision PyTorch model in float32: what it would answer without rounding to float16 or bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_HALVES = (torch.float16, torch.bfloat16)


class NotInFloat32Error(Exception):
    """The model writes into a half-precision tensor of its own, such as a cache, so it cannot run in float32."""


class InFloat32(TorchDispatchMode):
    """A context in which every operator computes in float32 where it would compute in float16 or bfloat16.

    Half-precision operands (weights, inputs) are widened, which changes no value, and no operator casts to half precision. The
    context acts below autocast, so it covers the casts of autocast, too. The model itself does not change.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator with widened operands, and with float32 in place of a half-precision dtype argument.

        Raises:
            NotInFloat32Error: the operator writes into a half-precision tensor.
        """
        keywords = dict(kwargs or {})
        for position, argument in enumerate(func._schema.arguments):
            given = args[position] if position < len(args) else keywords.get(argument.name)
            is_written = argument.alias_info is not None and argument.alias_info.is_write
            if is_written and isinstance(given, Tensor) and given.dtype in _HALVES:
                raise NotInFloat32Error(f"{func} writes into a {given.dtype} tensor")
        return func(*tree_map(_widened, args), **tree_map(_widened, keywords))


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _HALVES:
        return value.float()
    return torch.float32 if isinstance(value, torch.dtype) and value in _HALVES else value
