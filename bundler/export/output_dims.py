"""The dynamic axes of the outputs, found by running the model with other sizes of its dynamic dims.

torch annotates some values wrongly (an LSTM over a dynamic sequence has its example's length), so the model's behaviour
takes precedence over the graph's annotations.
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
"""The dims that the graph declares for its outputs, by name; None for an output without dims."""

_REFUSALS = (SourceError, ParityError)
"""The errors of a reference, PyTorch or ONNX Runtime, for a size that the model does not support."""


@dataclass(frozen=True)
class _Probe:
    """A run with another size of one dim.

    Attributes:
        shapes: the shapes by output name; None if the model supports none of the sizes tried.
    """

    dim: str
    before: int
    after: int
    shapes: Mapping[str, tuple[int, ...]] | None


def output_specs(
    reference: Reference,
    inputs: Sequence[TensorSpec],
    examples: Mapping[str, Array],
    outputs: Mapping[str, Array],
    annotated: Annotated,
) -> tuple[TensorSpec, ...]:
    """Return the specs of the outputs: a dim that follows a dim of the inputs has its name, other dynamic dims are None.

    Args:
        reference: the model, as a function of arrays.
        inputs: specs in which every dynamic dim has a name.
        examples: example inputs.
        outputs: the model's outputs on the examples.
        annotated: the dims that the graph declares.

    Raises:
        SourceError, ParityError: the model does not support another batch size.
    """
    signature = Signature(tuple(inputs), ())
    sizes = dim_sizes(signature, examples)
    probes = [_probe(reference, signature, examples, dim, size) for dim, size in sizes.items()]
    return tuple(
        TensorSpec(name, dtype_of(array), _dims(name, array.shape, probes, annotated.get(name)))
        for name, array in outputs.items()
    )


def dtype_of(array: Array) -> str:
    """Return the dtype under its name in a TensorSpec."""
    return "string" if array.dtype.kind in "USO" else str(array.dtype)


def _probe(reference: Reference, signature: Signature, examples: Mapping[str, Array], dim: str, size: int) -> _Probe:
    for other in (size + 1, size * 2, size * 4):
        try:
            outputs = reference(fit(signature, examples, {dim: other}))
        except _REFUSALS:
            if is_batch(dim):
                raise
            continue
        return _Probe(dim, size, other, {name: np.shape(array) for name, array in outputs.items()})
    return _Probe(dim, size, size, None)


def _dims(
    name: str, shape: tuple[int, ...], probes: Sequence[_Probe], annotated: Sequence[Dim] | None
) -> tuple[Dim, ...]:
    declared = annotated if annotated is not None and len(annotated) == len(shape) else [0] * len(shape)
    return tuple(_dim(name, axis, size, probes, declared[axis]) for axis, size in enumerate(shape))


def _depends_on_data(declared: Dim) -> bool:
    """Return whether a size depends on values (u0, u1, … in torch), so that it equals an input's dim by chance only."""
    return isinstance(declared, str) and re.fullmatch(r"u\d+", declared) is not None


def _shape(probe: _Probe, name: str, axis: int) -> tuple[int, ...] | None:
    """Return the shape of an output in a probe, if it has the axis."""
    shape = (probe.shapes or {}).get(name)
    return shape if shape is not None and len(shape) > axis else None


def _dim(name: str, axis: int, size: int, probes: Sequence[_Probe], declared: Dim) -> Dim:
    changed = [(probe, shape[axis]) for probe in probes if (shape := _shape(probe, name, axis)) and shape[axis] != size]
    if changed:
        probe, after = changed[0]
        follows = len(changed) == 1 and (size, after) == (probe.before, probe.after)
        return probe.dim if follows and not _depends_on_data(declared) else None
    if isinstance(declared, int):
        return size
    unprobed = {probe.dim for probe in probes if probe.shapes is None}
    return declared if declared in unprobed else None
