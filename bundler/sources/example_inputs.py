"""Example inputs made from `name=dtype[dims]`, where neither the model nor the user brings any.

1. A dim named `batch` is 2; any other dynamic dim is 16.
2. Floats are standard normal, booleans random, strings words; an input whose name has `mask` is all ones, since
   a row that is masked whole has no defined answer in many models.
3. Integers stay in a range the model takes: the one the source knows, else below the size of the embedding that
   looks them up, else below the smallest embedding of the model, else 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bundler.sources.binding import Binding
from bundler.sources.tensors import BFLOAT16, to_torch
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec

BATCH = 2
LENGTH = 16
_SEED = 0
_WORDS = ("north", "east", "south", "west")

Range = tuple[int, int]
"""Smallest and largest integer that an input takes."""


def random_inputs(specs: Sequence[TensorSpec], ranges: Mapping[str, Range]) -> dict[str, Array]:
    """Random arrays for the specs, the same on every call; `ranges` bounds integers by input name."""
    rng = np.random.default_rng(_SEED)
    return {spec.name: _draw(spec, shape_of(spec), ranges.get(spec.name, (0, 1)), rng) for spec in specs}


def shape_of(spec: TensorSpec) -> tuple[int, ...]:
    """The spec's dims with example sizes for the dynamic ones."""
    return tuple(d if isinstance(d, int) else BATCH if d == "batch" else LENGTH for d in spec.dims)


def _draw(spec: TensorSpec, shape: tuple[int, ...], bounds: Range, rng: np.random.Generator) -> Array:
    if spec.dtype == "string":
        return np.asarray(rng.choice(_WORDS, size=shape))
    if spec.dtype == "bfloat16":
        return np.asarray(rng.standard_normal(shape)).astype(BFLOAT16)
    dtype = np.dtype(spec.dtype)
    if "mask" in spec.name and dtype.kind in "biu":
        return np.ones(shape, dtype)
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(bounds[0], bounds[1], size=shape, endpoint=True)).astype(dtype)
    drawn = np.asarray(rng.standard_normal(shape))
    return (drawn + 1j * rng.standard_normal(shape) if dtype.kind == "c" else drawn).astype(dtype)


def integer_ranges(
    module: nn.Module, binding: Binding, specs: Sequence[TensorSpec], *, method: str = "forward"
) -> dict[str, Range]:
    """The range of each integer input, from the embeddings that the model has (rule 3).

    Which embedding looks up which input is seen in one run of `method` on zeros, and only where the input itself
    reaches it.
    """
    integers = [spec for spec in specs if spec.dtype.startswith(("int", "uint"))]
    sizes = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)]
    if not integers or not sizes:
        return {}
    zeros = {s.name: to_torch(np.zeros(shape_of(s), BFLOAT16 if s.dtype == "bfloat16" else s.dtype)) for s in specs}
    seen = _lookups(module, method, binding, [zeros[name] for name in binding.names])
    smallest = min(sizes)
    return {s.name: (0, seen.get(id(zeros[s.name]), smallest) - 1) for s in integers}


def _lookups(module: nn.Module, method: str, binding: Binding, tensors: Sequence[Tensor]) -> dict[int, int]:
    """Smallest number of rows of the embeddings that were given a tensor, by the tensor's id."""
    seen: dict[int, int] = {}

    def note(part: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(part, nn.Embedding):
            seen[id(given[0])] = min(part.num_embeddings, seen.get(id(given[0]), part.num_embeddings))

    args, kwargs = binding.call(tensors)
    with _hooks(module, note), torch.no_grad():
        try:
            (module if method == "forward" else getattr(module, method))(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, ArithmeticError):
            # Zeros need not suit the model. Its real inputs are tried next, and what fails then is reported.
            return seen
    return seen


@contextmanager
def _hooks(module: nn.Module, note: Any) -> Iterator[None]:
    embeddings = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    handles = [part.register_forward_pre_hook(note) for part in embeddings]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
