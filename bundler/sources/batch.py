"""Whether the first axis of all inputs is a batch, seen by running the model with another size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bundler.sources.binding import Binding
from bundler.sources.outputs import name_outputs
from bundler.sources.tensors import dtype_name, to_numpy
from bundler.values.signature import Dim, TensorSpec

_TOLERANCE = 1e-3
"""Relative to the tensor's largest value: another batch size may take another kernel, no other rows."""


def batch_dims(
    module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor]
) -> tuple[tuple[TensorSpec, ...], str]:
    """Specs for the example inputs; the first axis is named `batch` where the model treats it as one.

    It is a batch when all inputs with an axis agree on its size and the model, run with one row more and the rows
    in another order, answers the same rows in that order.

    Returns:
        The specs, and a sentence that says what was found.
    """
    sizes = {int(tensor.shape[0]) for tensor in tensors.values() if tensor.dim() > 0}
    if len(sizes) != 1:
        reason = f"fixed: the first axes of the inputs have the sizes {sorted(sizes)}"
    elif 0 in sizes:
        reason = "fixed: the example has no rows"
    else:
        reason = _why_not(module, binding, tensors, sizes.pop())
    dynamic = not reason
    return tuple(_spec(name, t, dynamic) for name, t in tensors.items()), reason or "yes: run with another size"


def _spec(name: str, tensor: Tensor, dynamic: bool) -> TensorSpec:
    dims: tuple[Dim, ...] = tuple(int(size) for size in tensor.shape)
    return TensorSpec(name, dtype_name(tensor), ("batch", *dims[1:]) if dynamic and dims else dims)


def _why_not(module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor], size: int) -> str:
    rows = [*reversed(range(size)), 0]
    other = [t[rows] if t.dim() > 0 else t for t in (tensors[name] for name in binding.names)]
    try:
        base = _run(module, binding, [tensors[name] for name in binding.names])
        changed = _run(module, binding, other)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, ArithmeticError) as exc:
        return f"fixed: the model does not run with {size + 1} rows ({type(exc).__name__})"
    for name, got in changed.items():
        want = base.get(name)
        if want is None or got.shape[:1] != (size + 1,) or want.shape[:1] != (size,):
            return f"fixed: with {size + 1} rows, output {name!r} has the shape {list(got.shape)}"
        if not _close(got, want[rows]):
            return f"fixed: the rows of output {name!r} depend on each other"
    return ""


def _run(module: nn.Module, binding: Binding, tensors: Sequence[Tensor]) -> dict[str, Any]:
    args, kwargs = binding.call(tensors)
    with torch.no_grad():
        return {name: to_numpy(tensor) for name, tensor in name_outputs(module(*args, **kwargs)).items()}


def _close(first: Any, second: Any) -> bool:
    a, b = np.asarray(first).astype(np.complex128), np.asarray(second).astype(np.complex128)
    scale = max(float(np.abs(np.nan_to_num(a)).max(initial=0.0)), 1e-30)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=_TOLERANCE * scale, equal_nan=True)
