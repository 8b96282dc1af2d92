"""Draws of inputs: the arrays on which every artifact is compared with PyTorch.

A draw is the example itself or random values of the same kind, in the same or another size:

1. Floats are normal with the example's mean and spread, and stay within its range (so images stay images).
2. Integers are uniform between the example's smallest and largest (so token ids stay in the vocabulary).
3. Values that are all 0 or 1 stay so; a mask of ones stays ones; a padding mask (each row ones, then zeros) stays a padding
   mask.
4. Booleans are random; strings and non-finite floats are picked from the example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bundler.errors import UsageError
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.values.signature import Signature, TensorSpec

BATCH_SIZES = (1, 2, 5)
_BATCH_NAMES = ("batch", "batch_size", "bs", "N")


@dataclass(frozen=True)
class InputDraw:
    """One set of inputs.

    Attributes:
        name: `example`, `random`, or the changed dim with its size (`batch-5`).
        inputs: arrays by input name, in the signature's order.
    """

    name: str
    inputs: dict[str, Array]


def is_batch(dim: object) -> bool:
    """Return whether a dim is the batch dim, whose rows are independent, so that it can take any size."""
    return dim in _BATCH_NAMES


def draws(signature: Signature, examples: Mapping[str, Array], *, seed: int = 0) -> list[InputDraw]:
    """Return the example, a random draw of its size, and one draw for each other size of each named dynamic dim.

    A batch dim takes the sizes 1, 2 and 5; any other dim takes half and one and a half times its size in the example. One
    dim changes at a time. The same seed gives the same values.

    Raises:
        UsageError: the examples do not fit the signature (see `dim_sizes`).
    """
    sizes = dim_sizes(signature, examples)
    rng = np.random.default_rng(seed)
    out = [InputDraw("example", {name: np.asarray(examples[name]) for name in signature.input_names})]
    out.append(InputDraw("random", resample(signature, examples, sizes, rng)))
    for dim, size in sizes.items():
        for other in BATCH_SIZES if is_batch(dim) else _lengths(size):
            if other != size:
                out.append(InputDraw(f"{dim}-{other}", resample(signature, examples, {**sizes, dim: other}, rng)))
    return out


def _lengths(size: int) -> tuple[int, ...]:
    """Return half and one and a half times the size, but not 1, which torch.export supports for the batch dim only."""
    return max(2, size // 2), max(size + 1, size * 3 // 2)


def dim_sizes(signature: Signature, examples: Mapping[str, Array]) -> dict[str, int]:
    """Return the size of each named dynamic dim in the examples, in order of appearance.

    Raises:
        UsageError: an example is missing, has another rank or another size in a fixed dim, or two examples disagree on a dim.
    """
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        if spec.name not in examples:
            raise UsageError(
                f"There is no example for the input {spec}.", fix="give an example for every input", code="TFB1204"
            )
        shape = np.shape(examples[spec.name])
        if len(shape) != len(spec.dims):
            raise UsageError(
                f"The example for {spec} has the shape {list(shape)}; its rank must be {len(spec.dims)}.",
                fix="give an example with one size per dim",
                code="TFB1204",
            )
        for dim, size in zip(spec.dims, shape, strict=True):
            expected = dim if isinstance(dim, int) else sizes.setdefault(dim, size) if dim is not None else size
            if expected != size:
                rule = f"{dim!r} is {expected} elsewhere" if isinstance(dim, str) else f"the size {dim} is fixed"
                raise UsageError(
                    f"The example for {spec} has the shape {list(shape)}, but {rule}.",
                    fix="give inputs whose sizes agree, or give an independent dim a name of its own",
                    code="TFB1204",
                )
    return sizes


def shape_of(spec: TensorSpec, example: Array, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the spec's shape with the named dims at `sizes`, and the other dynamic dims as in the example."""
    return tuple(
        dim if isinstance(dim, int) else sizes.get(dim, size) if dim is not None else size
        for dim, size in zip(spec.dims, np.shape(example), strict=True)
    )


def fit(signature: Signature, examples: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """Return the examples with the named dims at `sizes`: cut, or repeated from the start."""
    out = {}
    for spec in signature.inputs:
        array = np.asarray(examples[spec.name])
        for axis, size in enumerate(shape_of(spec, array, sizes)):
            if size != array.shape[axis]:
                array = np.take(array, np.arange(size), axis=axis, mode="wrap")
        out[spec.name] = array
    return out


def resample(
    signature: Signature, examples: Mapping[str, Array], sizes: Mapping[str, int], rng: np.random.Generator
) -> dict[str, Array]:
    """Return random arrays of the examples' kind (see the module's rules) with the named dims at `sizes`."""
    out = {}
    for spec in signature.inputs:
        example = np.asarray(examples[spec.name])
        out[spec.name] = _like(example, shape_of(spec, example, sizes), rng)
    return out


def _like(example: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    kind = example.dtype.kind
    if example.size == 0:
        return np.zeros(shape, example.dtype)
    if kind not in "biufcV" or not _finite(example):
        return np.asarray(rng.choice(example.ravel(), size=shape)).astype(example.dtype, copy=False)
    values = example if kind in "biuc" else example.astype(np.float64)
    if kind != "c" and bool(np.isin(values, (0, 1)).all()) and not (kind in "fV" and not values.any()):
        return _binary(values, shape, rng).astype(example.dtype)
    if kind in "iu":
        return rng.integers(example.min(), example.max(), size=shape, dtype=example.dtype, endpoint=True)
    if kind == "c":
        parts = _normal(example.real, shape, rng) + 1j * _normal(example.imag, shape, rng)
        return np.asarray(parts).astype(example.dtype)
    return _normal(values, shape, rng).astype(example.dtype)


def _finite(example: Array) -> bool:
    if example.dtype.kind not in "fcV":
        return True
    return bool(np.isfinite(example.astype(np.complex128 if example.dtype.kind == "c" else np.float64)).all())


def _normal(values: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw normal values within the range of `values`, or standard normal ones if `values` are all zero."""
    if not values.any():
        return rng.standard_normal(shape)
    peak = np.abs(values).max()
    scaled = values / peak  # the variance of very large values would overflow
    drawn = np.clip(rng.normal(scaled.mean(), scaled.std(), size=shape), scaled.min(), scaled.max())
    return np.asarray(np.clip(drawn * peak, values.min(), values.max()))


def _binary(values: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw zeros and ones: constants stay constant, padding masks stay padding masks, others keep the share of ones."""
    ones = float(np.mean(values))
    if ones == 1.0 or (ones == 0.0 and values.dtype.kind != "b"):
        return np.full(shape, ones)
    if _is_padding(values):
        # Every row keeps both values: attention is undefined for a row that is masked completely.
        cut = rng.integers(1, max(shape[-1], 2), size=(*shape[:-1], 1))
        first = values[(0,) * values.ndim]
        return np.where(np.arange(shape[-1]) < cut, first, 1 - float(first))
    return rng.random(shape) < (ones or 0.5)


def _is_padding(values: Array) -> bool:
    if values.ndim < 2 or values.shape[-1] < 2:
        return False
    rows = values.astype(np.int8)
    steps = np.diff(rows, axis=-1)
    first = rows[..., 0]
    return bool((first == first.flat[0]).all() and (steps * (1 - 2 * first.flat[0]) >= 0).all())
