"""Sequences and optionals while a graph is lowered: Python lists of Values, whose number is known at build time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bundler.converters.native.value import Tensor, Value
from bundler.converters.native.weights import WeightStore


class SequenceValue(Value):
    """An ONNX sequence: its elements, each a Value of its own shape."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Value], store: WeightStore) -> None:
        super().__init__(store)
        self.items = tuple(items)

    @property
    def rank(self) -> int | None:
        return None


class EmptyOptional(Value):
    """An ONNX optional without an element; one that has an element is that element."""

    @property
    def rank(self) -> int | None:
        return None


def structure(value: Value) -> Any:
    """How a value is built from tensors: a list for a sequence, None for an empty optional, True for a tensor."""
    if isinstance(value, SequenceValue):
        return [structure(item) for item in value.items]
    return not isinstance(value, EmptyOptional) or None


def flatten(value: Value) -> list[Tensor]:
    """The tensors of a value, in the order that `restore` takes them."""
    if isinstance(value, SequenceValue):
        return [tensor for item in value.items for tensor in flatten(item)]
    return [] if isinstance(value, EmptyOptional) else [value.tensor]


def restore(structures: Sequence[Any], tensors: Sequence[Tensor], store: WeightStore) -> list[Value]:
    """Values of these structures from their tensors."""
    left = list(tensors)

    def build(shape: Any) -> Value:
        if isinstance(shape, list):
            return SequenceValue([build(inner) for inner in shape], store)
        return EmptyOptional(store) if shape is None else Value.of(left.pop(0), store)

    return [build(shape) for shape in structures]
