"""Checks of a signature's inputs in the graph.

A session of TensorFlow, and so every model server, feeds an array of any shape: the shapes of a signature are information for
clients. Behind a wrong size that still divides, `Reshape([-1, 64])` answers with another number of rows. So the graph itself
checks its inputs, and the request fails with INVALID_ARGUMENT:

1. The rank and the fixed dims of an input: EnsureShape, whose error names the input and both shapes.
2. Dims of one name, in several inputs or in one: a single Assert, whose error names the dims, the inputs and their shapes.

An input without fixed dims whose names occur once is not checked. XLA ignores Assert, so the second check is lost in a function
that the caller compiles with `jit_compile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        tf.ensure_shape(tensor, spec.shape)
        if number in compared or any(isinstance(dim, int) for dim in spec.dims)
        else tensor
        for number, (tensor, spec) in enumerate(zip(tensors, specs, strict=True))
    ]
    if not shared:
        return checked
    compared_shapes = {number: tf.shape(checked[number]) for number in sorted(compared)}
    check = tf.raw_ops.Assert(
        condition=_are_equal(compared_shapes, specs, shared),
        data=[_rule(compared_shapes, specs, shared), *compared_shapes.values()],
        summarize=max(len(specs[number].dims) for number in compared),
    )
    with tf.control_dependencies([check]):
        return [tf.identity(tensor) if number in compared else tensor for number, tensor in enumerate(checked)]


def _are_equal(shapes: Mapping[int, Tensor], specs: Sequence[TensorSpec], shared: Sequence[SharedDim]) -> Tensor:
    """Return whether the dims of each name are equal, with few operators: each costs about as much as a small layer."""
    first, *others = shapes
    dims = specs[first].dims
    if (
        len(set(dims)) == len(dims)
        and None not in dims
        and others
        and all(specs[number].dims == dims for number in others)
    ):
        rest = shapes[others[0]] if len(others) == 1 else tf.stack([shapes[number] for number in others])
        return tf.reduce_all(tf.equal(rest, shapes[first]))
    starts, total = {}, 0
    for number in shapes:
        starts[number], total = total, total + len(specs[number].dims)
    places = [[starts[number] + axis for number, axis in dim.places] for dim in shared]
    sizes = tf.concat(list(shapes.values()), 0)
    left = tf.gather(sizes, [place for equal in places for place in equal[1:]])
    right = tf.gather(sizes, [equal[0] for equal in places for _ in equal[1:]])
    return tf.reduce_all(tf.equal(left, right))


def _rule(shapes: Iterable[int], specs: Sequence[TensorSpec], shared: Sequence[SharedDim]) -> str:
    """Return what the inputs have to fulfil, followed by the beginning of a list of their shapes."""
    rules = [
        f"{dim.name} is {_listed([f'axis {axis} of {specs[number].name}' for number, axis in dim.places])}"
        for dim in shared
    ]
    names = [specs[number].name for number in shapes]
    shapes_are = f"The shapes of {_listed(names)} are" if len(names) > 1 else f"The shape of {names[0]} is"
    return f"Dims of one name must have the same size: {'; '.join(rules)}. {shapes_are}"


def _listed(texts: Sequence[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
