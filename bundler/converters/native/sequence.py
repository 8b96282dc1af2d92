"""Sequences and optionals while a graph is lowered: Python lists of Values, whose length is known at build time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore


class SequenceValue(Value):
    """An ONNX sequence.

    Attributes:
        items: its elements, each a Value of its own shape.
    """

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Value], store: WeightStore) -> None:
        super().__init__(store)
        self.items = tuple(items)


class EmptyOptional(Value):
    """An ONNX optional without an element. An optional with an element is represented by that element."""

    __slots__ = ()


def structure(value: Value) -> Any:
    """Describe how a value is built from tensors: a list for a sequence, None for an empty optional, True for a tensor."""
    if isinstance(value, SequenceValue):
        return [structure(item) for item in value.items]
    return not isinstance(value, EmptyOptional) or None


def flatten(value: Value) -> list[Tensor]:
    """Return the tensors of a value, in the order in which `restore` takes them."""
    if isinstance(value, SequenceValue):
        return [tensor for item in value.items for tensor in flatten(item)]
    return [] if isinstance(value, EmptyOptional) else [value.tensor]


def restore(structures: Sequence[Any], tensors: Sequence[Tensor], store: WeightStore) -> list[Value]:
    """Build values of these structures from their tensors; the inverse of `structure` and `flatten`."""
    remaining = iter(tensors)

    def build(kind: Any) -> Value:
        if isinstance(kind, list):
            return SequenceValue([build(inner) for inner in kind], store)
        return EmptyOptional(store) if kind is None else Value.of(next(remaining), store)

    return [build(kind) for kind in structures]
