"""Which axes of the outputs are dynamic, seen by running the model at other sizes of its dynamic dims.

torch annotates some values wrongly (an LSTM over a dynamic sequence has its example's length), so what the model does
stands before what the graph says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bundler.errors import ParityError, SourceError
from bundler.values.arrays import Array
from bundler.values.input_draws import dim_sizes, fit, is_batch
from bundler.values.signature import Dim, Signature, TensorSpec

Reference = Callable[[Mapping[str, Array]], Mapping[str, Array]]
Annotated = Mapping[str, Sequence[Dim] | None]
"""By output name what the graph says of its dims; None where it says nothing."""

_STOPS = (SourceError, ParityError)
"""What a reference raises at a size that the model does not take: PyTorch's, ONNX Runtime's."""


@dataclass(frozen=True)
class _Probe:
    """One dim at another size: shapes by output name, None where the model does not take the size."""

    dim: str
    before: int
    after: int
    shapes: Mapping[str, tuple[int, ...]] | None


def output_specs(
    reference: Reference,
    inputs: Sequence[TensorSpec],
    examples: Mapping[str, Array],
    answer: Mapping[str, Array],
    annotated: Annotated,
) -> tuple[TensorSpec, ...]:
    """The outputs with names for dims that follow a dim of the inputs, None for other dynamic ones.

    Args:
        reference: the model, on arrays.
        inputs: specs in which every dynamic dim has a name.
        examples: arrays of the inputs.
        answer: what the reference answers on them.
        annotated: what the graph says.

    Raises:
        SourceError, ParityError: the model does not take another batch size.
    """
    signature = Signature(tuple(inputs), ())
    sizes = dim_sizes(signature, examples)
    probes = [_probe(reference, signature, examples, dim, size) for dim, size in sizes.items()]
    return tuple(
        TensorSpec(name, dtype_of(array), _dims(name, array.shape, probes, annotated.get(name)))
        for name, array in answer.items()
    )


def dtype_of(array: Array) -> str:
    """The dtype as a TensorSpec names it."""
    return "string" if array.dtype.kind in "USO" else str(array.dtype)


def _probe(reference: Reference, signature: Signature, examples: Mapping[str, Array], dim: str, size: int) -> _Probe:
    for other in (size + 1, size * 2, size * 4):
        try:
            answer = reference(fit(signature, examples, {dim: other}))
        except _STOPS:
            if is_batch(dim):
                raise
            continue
        return _Probe(dim, size, other, {name: np.shape(array) for name, array in answer.items()})
    return _Probe(dim, size, size, None)


def _dims(
    name: str, shape: tuple[int, ...], probes: Sequence[_Probe], annotated: Sequence[Dim] | None
) -> tuple[Dim, ...]:
    said = annotated if annotated is not None and len(annotated) == len(shape) else [0] * len(shape)
    return tuple(_dim(name, axis, size, probes, said[axis]) for axis, size in enumerate(shape))


def _depends_on_data(said: Dim) -> bool:
    """torch calls a size that only the values decide u0, u1, …; that it equals a dim of these inputs is chance."""
    return isinstance(said, str) and re.fullmatch(r"u\d+", said) is not None


def _dim(name: str, axis: int, size: int, probes: Sequence[_Probe], said: Dim) -> Dim:
    for probe in probes:
        shape = (probe.shapes or {}).get(name)
        if shape is not None and len(shape) > axis and shape[axis] != size:
            follows = (size, shape[axis]) == (probe.before, probe.after)
            return probe.dim if follows and not _depends_on_data(said) else None
    if isinstance(said, int):
        return size
    untried = {probe.dim for probe in probes if probe.shapes is None}
    return said if said in untried else None
