"""Draws example inputs from `name=dtype[dims]` if neither the model nor the user has any.

1. A dim named `batch` is 2; any other dynamic dim is 16.
2. Floats are standard normal, booleans random, strings words. An input whose name contains `mask` is all ones, since many models
   have no defined answer for a row that is fully masked.
3. Integers are in a range that the model accepts: the one that the source knows, else below the size of the embedding that
   looks them up, else below the smallest embedding of the model, else 0 and 1.

A `.onnx` file is built without torch, so only the functions that run a module import it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bundler.sources.binding import Binding

BATCH = 2
LENGTH = 16
_SEED = 0
_WORDS = ("north", "east", "south", "west")

Range = tuple[int, int]
"""Smallest and largest integer that an input accepts."""


def random_inputs(specs: Sequence[TensorSpec], ranges: Mapping[str, Range]) -> dict[str, Array]:
    """Draw an array for each spec, the same on every call.

    Args:
        specs: the inputs.
        ranges: the ranges of integer inputs, by name; (0, 1) for all others.

    Returns:
        Arrays by input name, of the spec's dtype and `shape_of(spec)`.
    """
    rng = np.random.default_rng(_SEED)
    return {spec.name: _draw(spec, shape_of(spec), ranges.get(spec.name, (0, 1)), rng) for spec in specs}


def shape_of(spec: TensorSpec) -> tuple[int, ...]:
    """Return the dims of a spec, with example sizes for the dynamic ones."""
    return tuple(d if isinstance(d, int) else BATCH if d == "batch" else LENGTH for d in spec.dims)


def _draw(spec: TensorSpec, shape: tuple[int, ...], bounds: Range, rng: np.random.Generator) -> Array:
    if spec.dtype == "string":
        return np.asarray(rng.choice(_WORDS, size=shape))
    if spec.dtype == "bfloat16":
        return np.asarray(rng.standard_normal(shape)).astype(ml_dtypes.bfloat16)
    dtype = np.dtype(spec.dtype)
    if "mask" in spec.name and dtype.kind in "biu":
        return np.ones(shape, dtype)
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(bounds[0], bounds[1], size=shape, endpoint=True)).astype(dtype)
    real = np.asarray(rng.standard_normal(shape))
    return (real + 1j * rng.standard_normal(shape) if dtype.kind == "c" else real).astype(dtype)


def integer_ranges(
    module: nn.Module, binding: Binding, specs: Sequence[TensorSpec], *, method: str = "forward"
) -> dict[str, Range]:
    """Return the range of each integer input, from the embeddings of the model (rule 3).

    One run of `method` on zeros shows which embedding looks up which input, if the input itself reaches it.

    Args:
        module: the model.
        binding: how the inputs are passed to `method`.
        specs: all inputs of `method`.
        method: the method that is called.
    """
    from torch import nn

    from bundler.sources.tensors import BFLOAT16, to_torch

    integers = [spec for spec in specs if spec.dtype.startswith(("int", "uint"))]
    sizes = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)]
    if not integers or not sizes:
        return {}
    zeros = {s.name: to_torch(np.zeros(shape_of(s), BFLOAT16 if s.dtype == "bfloat16" else s.dtype)) for s in specs}
    rows = _embedding_rows(module, method, binding, [zeros[name] for name in binding.names])
    smallest = min(sizes)
    return {s.name: (0, rows.get(id(zeros[s.name]), smallest) - 1) for s in integers}


def _embedding_rows(module: nn.Module, method: str, binding: Binding, tensors: Sequence[Tensor]) -> dict[int, int]:
    """Return the smallest number of rows of the embeddings that look up a tensor, by the tensor's id."""
    import torch
    from torch import nn

    rows: dict[int, int] = {}

    def record(part: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(part, nn.Embedding):
            rows[id(args[0])] = min(part.num_embeddings, rows.get(id(args[0]), part.num_embeddings))

    args, kwargs = binding.call(tensors)
    with _hooks(module, record), torch.no_grad():
        try:
            (module if method == "forward" else getattr(module, method))(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, ArithmeticError):
            # The model need not accept zeros. It runs on its real inputs next, and errors are reported then.
            return rows
    return rows


@contextmanager
def _hooks(module: nn.Module, hook: Any) -> Iterator[None]:
    from torch import nn

    embeddings = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    handles = [part.register_forward_pre_hook(hook) for part in embeddings]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
