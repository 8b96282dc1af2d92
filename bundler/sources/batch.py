"""Finds out whether the first axis of all inputs is a batch, by running the model with another size."""

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
"""Relative to the tensor's largest value; another batch size may use another kernel, which rounds differently."""


def batch_dims(
    module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor]
) -> tuple[tuple[TensorSpec, ...], str]:
    """Return specs of the example inputs, with the first axis named `batch` if the model treats it as one.

    It is a batch if all inputs that have a first axis agree on its size, and the model, run with one more row and the rows in
    another order, answers the same rows in that order.

    Args:
        module: the model, in eval mode.
        binding: how the inputs are passed to `forward`.
        tensors: the example inputs by name.

    Returns:
        The specs, and the finding as text, which starts with `yes` or `fixed`.
    """
    sizes = {int(tensor.shape[0]) for tensor in tensors.values() if tensor.dim() > 0}
    if len(sizes) != 1:
        reason = f"fixed: the first axes of the inputs have the sizes {sorted(sizes)}"
    elif 0 in sizes:
        reason = "fixed: the example has no rows"
    else:
        reason = _why_fixed(module, binding, tensors, sizes.pop())
    dynamic = not reason
    return tuple(_spec(name, t, dynamic) for name, t in tensors.items()), reason or "yes: run with another size"


def _spec(name: str, tensor: Tensor, dynamic: bool) -> TensorSpec:
    dims: tuple[Dim, ...] = tuple(int(size) for size in tensor.shape)
    return TensorSpec(name, dtype_name(tensor), ("batch", *dims[1:]) if dynamic and dims else dims)


def _why_fixed(module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor], size: int) -> str:
    """Return why the first axis is not a batch, or an empty string if it is."""
    rows = [*reversed(range(size)), 0]
    reordered = [t[rows] if t.dim() > 0 else t for t in (tensors[name] for name in binding.names)]
    try:
        original = _run(module, binding, [tensors[name] for name in binding.names])
        changed = _run(module, binding, reordered)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, ArithmeticError) as exc:
        return f"fixed: the model does not run with {size + 1} rows ({type(exc).__name__})"
    for name, actual in changed.items():
        expected = original.get(name)
        if expected is None or actual.shape[:1] != (size + 1,) or expected.shape[:1] != (size,):
            return f"fixed: with {size + 1} rows, output {name!r} has the shape {list(actual.shape)}"
        if not _close(actual, expected[rows]):
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
