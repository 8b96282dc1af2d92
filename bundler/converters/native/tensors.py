"""TensorFlow tensors while a graph is built: their type, a cache that knows about nested graphs, and a cheap transpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeAlias, TypeVar

import tensorflow as tf

Tensor: TypeAlias = Any
"""tf.Tensor; TensorFlow ships no type stubs."""

Key = TypeVar("Key")


class TensorCache(Generic[Key]):
    """Tensors by key, each valid in the graph that it was made in and in the graphs nested in that one.

    A tensor made while a branch or a loop body is traced does not exist outside of it.
    """

    __slots__ = ("_tensors",)

    def __init__(self) -> None:
        self._tensors: dict[tuple[Any, Key], Tensor] = {}

    def get(self, key: Key, make: Callable[[], Tensor]) -> Tensor:
        """Return the tensor of `key`, made by `make` if neither the current graph nor one around it has it."""
        current = graph = tf.compat.v1.get_default_graph()
        while graph is not None:
            if (graph, key) in self._tensors:
                return self._tensors[graph, key]
            graph = getattr(graph, "outer_graph", None)
        self._tensors[current, key] = tensor = make()
        return tensor

    def put(self, key: Key, tensor: Tensor) -> None:
        """Store a tensor of the current graph."""
        self._tensors[tf.compat.v1.get_default_graph(), key] = tensor


def with_axis(tensor: Tensor, axis: int, target: str) -> Tensor:
    """Add an axis of size 1; for TFLite by a reshape if at most one size is dynamic, since XNNPACK runs no EXPAND_DIMS."""
    sizes = tensor.shape.as_list()
    if target != "tflite" or sizes.count(None) > 1 or 0 in sizes:
        return tf.expand_dims(tensor, axis)
    return tf.reshape(tensor, _with_inferred([*sizes[:axis], 1, *sizes[axis:]]))


def without_axis(tensor: Tensor, axis: int, target: str) -> Tensor:
    """Remove an axis of size 1; for TFLite by a reshape if at most one size is dynamic, since XNNPACK runs no SQUEEZE."""
    sizes = tensor.shape.as_list()
    rest = [*sizes[:axis], *sizes[axis + 1 :]]
    if target != "tflite" or rest.count(None) > 1 or 0 in rest or sizes[axis] != 1:
        return tf.squeeze(tensor, axis)
    return tf.reshape(tensor, _with_inferred(rest))


def _with_inferred(sizes: Sequence[int | None]) -> list[int]:
    return [-1 if size is None else size for size in sizes]


_MOST_TRANSPOSED: ContextVar[int] = ContextVar("most_transposed", default=254)


@contextmanager
def transposing_at_most(axes: int) -> Iterator[None]:
    """Let `transpose` emit only transposes of so many axes in the block; TensorFlow's kernel takes any number."""
    token = _MOST_TRANSPOSED.set(axes)
    try:
        yield
    finally:
        _MOST_TRANSPOSED.reset(token)


def transpose(tensor: Tensor, permutation: Sequence[int]) -> Tensor:
    """Transpose a tensor; by a reshape where only axes of size 1 move, which leaves the data where it is."""
    sizes = tensor.shape.as_list()
    if list(permutation) == list(range(len(sizes))):
        return tensor
    moving = [axis for axis in permutation if sizes[axis] != 1]
    target = [sizes[axis] for axis in permutation]
    if moving == sorted(moving) and sum(size is None for size in target) <= 1:
        return tf.reshape(tensor, [-1 if size is None else size for size in target])
    if len(sizes) <= _MOST_TRANSPOSED.get() or None in sizes:
        return tf.transpose(tensor, permutation)
    return _transposed_in_parts(tensor, permutation, _MOST_TRANSPOSED.get())


def _transposed_in_parts(tensor: Tensor, permutation: Sequence[int], most: int) -> Tensor:
    """Transpose a tensor of known sizes, with axes that stay together merged, and with one axis at a time if that is too many."""
    sizes, runs = tensor.shape.as_list(), _runs(permutation)
    target = [sizes[axis] for axis in permutation]
    if len(runs) <= most:
        stored = sorted(runs)
        view = tf.reshape(tensor, [math.prod(sizes[axis] for axis in run) for run in stored])
        return tf.reshape(tf.transpose(view, [stored.index(run) for run in runs]), target)
    current = list(range(len(sizes)))
    for place, axis in enumerate(permutation):
        begin = current.index(axis)
        if begin != place:
            lengths = [sizes[a] for a in current]
            parts = [lengths[:place], lengths[place:begin], lengths[begin : begin + 1], lengths[begin + 1 :]]
            tensor = tf.transpose(tf.reshape(tensor, [math.prod(part) for part in parts]), [0, 2, 1, 3])
            current.insert(place, current.pop(begin))
    return tf.reshape(tensor, target)


def _runs(permutation: Sequence[int]) -> list[list[int]]:
    """Return the axes of a permutation in runs that stay together and in order."""
    runs: list[list[int]] = []
    for axis in permutation:
        if runs and runs[-1][-1] + 1 == axis:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs
