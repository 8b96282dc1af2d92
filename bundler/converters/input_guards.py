"""Checks of a signature's inputs in the graph.

A session of TensorFlow, and so every model server, feeds an array of any shape: the shapes of a signature are information for
clients. Behind a wrong size that still divides, `Reshape([-1, 64])` answers with another number of rows. So the graph itself
checks its inputs, and the request fails with INVALID_ARGUMENT:

1. The rank and the fixed dims of an input: EnsureShape, whose error names the input and both shapes.
2. Dims of one name, in several inputs or in one: Assert, whose error names the dim, the inputs and the sizes.

An input without fixed dims whose names occur once is not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from bundler.converters.native.tensors import Tensor
from bundler.values.signature import TensorSpec


@dataclass(frozen=True)
class SharedDim:
    """A named dim that occurs more than once in the inputs of a signature.

    Attributes:
        name: the dim's name.
        places: the number of the input and the axis, for each occurrence.
    """

    name: str
    places: tuple[tuple[int, int], ...]


def shared_dims(specs: Sequence[TensorSpec]) -> tuple[SharedDim, ...]:
    """Return the named dims that occur more than once, in order of appearance."""
    places: dict[str, list[tuple[int, int]]] = {}
    for number, spec in enumerate(specs):
        for axis, dim in enumerate(spec.dims):
            if isinstance(dim, str):
                places.setdefault(dim, []).append((number, axis))
    return tuple(SharedDim(name, tuple(found)) for name, found in places.items() if len(found) > 1)


def guarded(tensors: Sequence[Tensor], specs: Sequence[TensorSpec]) -> list[Tensor]:
    """Return the input tensors of a function that is being traced, behind the checks of their shapes.

    The checks are control inputs of the tensors that they concern, so that no optimiser removes them, and an operator that
    uses an input cannot fail before its check.

    Args:
        tensors: the function's arguments.
        specs: their specs, in the same order.
    """
    shared = shared_dims(specs)
    compared = {number for dim in shared for number, _ in dim.places}
    checked = [
        tf.ensure_shape(tensor, spec.shape) if number in compared or any(isinstance(dim, int) for dim in spec.dims) else tensor
        for number, (tensor, spec) in enumerate(zip(tensors, specs, strict=True))
    ]
    if not shared:
        return checked
    with tf.control_dependencies(_equal_sizes(checked, specs, shared, sorted(compared))):
        return [tf.identity(tensor) if number in compared else tensor for number, tensor in enumerate(checked)]


def _equal_sizes(
    tensors: Sequence[Tensor], specs: Sequence[TensorSpec], shared: Sequence[SharedDim], compared: Sequence[int]
) -> list[Any]:
    """Return an Assert for each shared dim. All read one vector, which holds the shapes of the compared inputs in a row."""
    shapes = tf.concat([tf.shape(tensors[number]) for number in compared], 0)
    starts, total = {}, 0
    for number in compared:
        starts[number], total = total, total + len(specs[number].dims)
    asserts = []
    for dim in shared:
        sizes = tf.gather(shapes, [starts[number] + axis for number, axis in dim.places])
        text = f"The dim {dim.name} must have the same size in {_listed(dim, specs)}. The sizes are"
        asserts.append(
            tf.raw_ops.Assert(
                condition=tf.reduce_all(tf.equal(sizes, sizes[:1])), data=[text, sizes], summarize=len(dim.places)
            )
        )
    return asserts


def _listed(dim: SharedDim, specs: Sequence[TensorSpec]) -> str:
    places = [f"{specs[number].name} (axis {axis})" for number, axis in dim.places]
    return f"{', '.join(places[:-1])} and {places[-1]}"
