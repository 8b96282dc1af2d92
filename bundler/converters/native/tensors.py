"""TensorFlow tensors while a graph is built: their type, a cache that knows about nested graphs, and a cheap transpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def transpose(tensor: Tensor, permutation: Sequence[int]) -> Tensor:
    """Transpose a tensor; by a reshape where only axes of size 1 move, which leaves the data where it is."""
    sizes = tensor.shape.as_list()
    if list(permutation) == list(range(len(sizes))):
        return tensor
    moving = [axis for axis in permutation if sizes[axis] != 1]
    target = [sizes[axis] for axis in permutation]
    if moving == sorted(moving) and sum(size is None for size in target) <= 1:
        return tf.reshape(tensor, [-1 if size is None else size for size in target])
    return tf.transpose(tensor, permutation)
