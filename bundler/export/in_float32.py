"""Runs a half-precision PyTorch model in float32: what it would answer without rounding to float16 or bfloat16."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_HALVES = (torch.float16, torch.bfloat16)


class NotInFloat32Error(RuntimeError):
    """The model depends on half precision: it writes into a tensor of its own, such as a cache, or reads the bits of numbers."""


@contextmanager
def in_float32(module: nn.Module) -> Iterator[None]:
    """Make a module compute in float32 for a block. Its weights are copied to float32 meanwhile, which changes no value.

    TorchScript keeps its weights, which are widened where they are used. What torch compiles for control flow meanwhile is
    forgotten: outside of the context, torch (2.13) fails on it.
    """
    with _compiled_code_forgotten(), InFloat32():  # type: ignore[no-untyped-call]
        if isinstance(module, torch.jit.ScriptModule):
            yield
            return
        tensors = [*module.named_parameters(), *module.named_buffers()]
        wide = {name: tensor.detach().float() for name, tensor in tensors if tensor.dtype in _HALVES}
        with _reparametrize_module(module, wide, tie_weights=True):
            yield


@contextmanager
def _compiled_code_forgotten() -> Iterator[None]:
    try:
        yield
    finally:
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled, and the reset would import the compiler
            torch.compiler.reset()


class InFloat32(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which every operator computes in float32 where it would compute in float16 or bfloat16.

    Half-precision operands are widened, and no operator casts to half precision. The context acts below autocast, so it covers
    the casts of autocast, too. The branch or body of a control-flow operator gets widened operands.
    """

    supports_higher_order_operators = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator with widened operands, and with float32 in place of a half-precision dtype argument.

        Raises:
            NotInFloat32Error: the operator writes into a half-precision tensor, or reads its bits.
        """
        keywords = dict(kwargs or {})
        if func is torch.ops.aten.view.dtype:
            raise NotInFloat32Error(f"{func} reads the bits of a number")
        arguments = func._schema.arguments if isinstance(func, torch._ops.OpOverload) else ()
        for position, argument in enumerate(arguments):
            given = args[position] if position < len(args) else keywords.get(argument.name)
            is_written = argument.alias_info is not None and argument.alias_info.is_write
            if is_written and isinstance(given, Tensor) and given.dtype in _HALVES:
                raise NotInFloat32Error(f"{func} writes into a {given.dtype} tensor")
        return func(*tree_map(widened, args), **tree_map(widened, keywords))


def widened(value: Any) -> Any:
    """Return float32 in place of a half-precision tensor or dtype, and anything else as it is."""
    if isinstance(value, Tensor) and value.dtype in _HALVES:
        return value.float()
    return torch.float32 if isinstance(value, torch.dtype) and value in _HALVES else value
