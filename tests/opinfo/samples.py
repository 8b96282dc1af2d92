"""torch's own samples of its operators (OpInfo), as modules with example inputs.

A case is a sample of an operator at a dtype, either with all dims fixed (`static`) or with a dynamic first dim (`dynamic`).
"""

from __future__ import annotations

import importlib.util
import random
import sys
import types
import unittest
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float32, torch.int64, torch.bool, torch.float16, torch.bfloat16)}
DYNAMIC_SIZES = (0, 1, 3)
"""The sizes of the dynamic first dim at which the answers are compared."""

UNINITIALIZED = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")
"""Operators whose values mean nothing."""


@dataclass(frozen=True)
class Case:
    """A sample of an operator.

    Attributes:
        op: the operator's name, with its variant: `linalg.norm.subgradients_at_zero`.
        dtype: a key of DTYPES.
        sample: the sample's index among all samples of the operator at this dtype.
        dynamic: whether the first dim of the inputs is dynamic.
    """

    op: str
    dtype: str
    sample: int
    dynamic: bool

    def __str__(self) -> str:
        return f"{self.op} {self.dtype} {self.sample} {'dynamic' if self.dynamic else 'static'}"


class Sample(nn.Module):
    """A call of an operator: its tensors are the inputs, everything else is fixed.

    Args:
        function: the operator.
        arguments: its positional arguments and keywords.
    """

    def __init__(self, function: Any, arguments: tuple[tuple[Any, ...], Mapping[str, Any]]) -> None:
        super().__init__()
        self.function = function
        leaves, self.spec = pytree.tree_flatten(arguments)
        self.fixed = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.tensors = tuple(leaves[index].detach() for index in self.places)

    def forward(self, *x: Tensor) -> Any:
        leaves = list(self.fixed)
        for index, tensor in zip(self.places, x, strict=False):  # a sample without tensors gets one that it does not use
            leaves[index] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.function(*args, **kwargs)


@cache
def operators() -> dict[str, Any]:
    """Return torch's table of operators by name."""
    if importlib.util.find_spec("expecttest") is None:
        # torch's test utilities import it for tests of torch's own messages, which do not run here.
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        sys.modules["expecttest"] = stand_in
    from torch.testing._internal.common_methods_invocations import op_db

    return {op.name + (f".{op.variant_test_name}" if op.variant_test_name else ""): op for op in op_db}


def names(dtype: str) -> list[str]:
    """Return the names of the operators that have samples of this dtype."""
    return sorted(name for name, op in operators().items() if DTYPES[dtype] in op.dtypes)


def samples(op: str, dtype: str, most: int | None) -> dict[int, Sample]:
    """Return samples of an operator by index, without those in which a tensor has no elements.

    Args:
        op: the operator's name.
        dtype: a key of DTYPES.
        most: the number of samples, chosen evenly from those with different shapes or arguments; None: all.
    """
    seed()
    info = operators()[op]
    found: dict[str, tuple[int, Sample]] = {}
    for index, given in enumerate(info.sample_inputs("cpu", DTYPES[dtype], requires_grad=False)):
        sample = Sample(info.op, ((given.input, *given.args), given.kwargs))
        if any(t.numel() == 0 for t in sample.tensors):
            continue  # a signature's fixed dim is at least 1; sizes of 0 come from the dynamic dim
        key = str(index) if most is None else _key(sample)
        found.setdefault(key, (index, sample))
    rows = list(found.values())
    if most is not None and len(rows) > most:
        rows = [rows[round(i * (len(rows) - 1) / max(most - 1, 1))] for i in range(most)]
    return dict(rows)


def _key(sample: Sample) -> str:
    shapes = [tuple(t.shape) for t in sample.tensors]
    return f"{shapes} {sample.spec} {[type(leaf).__name__ for leaf in sample.fixed]}"


def seed() -> None:
    """Make torch's samples and random operators the same in every run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def first_dims(sample: Sample) -> list[tuple[int, ...]]:
    """Return the sets of inputs whose first dim may be dynamic together: all those of one size, or the first of them alone."""
    ranked = [index for index, t in enumerate(sample.tensors) if t.dim() > 0]
    if not ranked:
        return []
    size = sample.tensors[ranked[0]].shape[0]
    together = tuple(index for index in ranked if sample.tensors[index].shape[0] == size)
    return [together] if len(together) == 1 else [together, together[:1]]


def resized(tensors: Sequence[Tensor], dynamic: Sequence[int], size: int) -> tuple[Tensor, ...]:
    """Return copies with another size of the first dim of those at the indices `dynamic`; rows are repeated."""
    return tuple(
        t[torch.arange(size) % t.shape[0]].clone() if index in dynamic else t.clone() for index, t in enumerate(tensors)
    )


def cases(op: str, dtype: str, found: Mapping[int, Sample], most_dynamic: int | None) -> dict[Case, Sample]:
    """Return the cases of an operator: all samples static, then the first `most_dynamic` of those that have a first dim."""
    ranked = [index for index, sample in found.items() if first_dims(sample)]
    static = {Case(op, dtype, index, False): sample for index, sample in found.items()}
    return {**static, **{Case(op, dtype, index, True): found[index] for index in ranked[:most_dynamic]}}
