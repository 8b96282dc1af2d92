"""Which axis order an op's operands are brought into, by the op's declared layout."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.registry import AxisPolicy
from bundler.converters.native.value import Element, Order, Value, channels_last, transpose
from bundler.converters.native.weights import WeightStore


@dataclass
class LaidOutOperands:
    """Operands as tensors, attributes with their axes re-mapped, and the order that the result has."""

    tensors: list[tf.Tensor | None]
    attributes: dict[str, Any]
    order: Order | None
    rows_sizes: tuple[Element, ...] | None = None
    """Where the tensors are rows: the sizes that the result's rows stand for."""

    def value(self, tensor: tf.Tensor, store: WeightStore) -> Value:
        """The result, stored as the operands are."""
        if self.rows_sizes is not None and tensor.shape.rank == 2:
            return Value.from_flattened(tensor, self.rows_sizes, store, self.order)
        return Value.of(tensor, store, self.order)


def place(
    layout: AxisPolicy, operands: Sequence[Value | None], static: Collection[int], attributes: dict[str, Any]
) -> LaidOutOperands:
    """Bring operands into the order that `layout` asks for. Operands at the positions `static` are left to the caller."""
    moved = [None if i in static else v for i, v in enumerate(operands)]
    if layout is AxisPolicy.ELEMENTWISE:
        order = common_order(moved)
        rank = max((v.rank or 0 for v in moved if v is not None), default=0)
        sizes = _common_rows(moved, rank)
        if sizes is not None:
            return LaidOutOperands([None if v is None else _as_rows(v, order, rank) for v in moved], attributes, order, sizes)
        return LaidOutOperands([None if v is None else aligned(v, order, rank) for v in moved], attributes, order)
    if layout is AxisPolicy.AXIS:
        return _by_axis(moved, attributes)
    if layout is AxisPolicy.SPATIAL:
        order = channels_last(_rank(moved[0]))
        first = moved[0].in_order(order) if moved[0] is not None else None
        return LaidOutOperands([first, *(None if v is None else v.tensor for v in moved[1:])], attributes, order)
    return LaidOutOperands([None if v is None else v.tensor for v in moved], attributes, None)


def _common_rows(operands: Sequence[Value | None], rank: int) -> tuple[Element, ...] | None:
    """The sizes of operands that are all made of rows, but for constants by channel and single numbers."""
    full = [v for v in operands if v is not None and v.rank == rank and not v.is_constant]
    rest = [v for v in operands if v is not None and not (v.rank == rank and not v.is_constant)]
    sizes = full[0].rows_sizes if full else None
    if sizes is None or any(v.rows_sizes != sizes or v.order != full[0].order for v in full):
        return None
    return sizes if all(_fits_rows(v, full[0].order, rank, sizes[-1]) for v in rest) else None


def _fits_rows(value: Value, order: Order | None, rank: int, channels: Element) -> bool:
    if value.array is None:
        return value.rank == 0 and value.elements is None
    last = rank - 1 if order is None else order[-1]
    sizes = (1,) * (rank - value.array.ndim) + value.array.shape
    return all(size == 1 or (axis == last and size == channels) for axis, size in enumerate(sizes))


def _as_rows(value: Value, order: Order | None, rank: int) -> tf.Tensor:
    if value.array is None:
        return value.rows if value.rank == rank else value.tensor
    return _constant(value, value.array.reshape(-1) if value.array.size > 1 else value.array.reshape(()))


def with_rows(a: Value, b: Value) -> tuple[Value, Value]:
    """Two values of the same sizes: where one is made of rows and the other stored in the same order, both are."""
    if a.order != b.order or (a.rows_sizes is None) == (b.rows_sizes is None):
        return a, b
    sizes = a.rows_sizes or b.rows_sizes
    assert sizes is not None
    rows = [v if v.rows_sizes is not None else Value.from_flattened(v.rows, sizes, v.store, v.order) for v in (a, b)]
    return rows[0], rows[1]


def _rank(value: Value | None) -> int:
    if value is None or value.rank is None:
        raise ValueError("the rank of its input is not known at build time")
    return value.rank


def _by_axis(operands: Sequence[Value | None], attributes: dict[str, Any]) -> LaidOutOperands:
    order = common_order(operands)
    attributes = dict(attributes)
    if order is not None:
        rank = len(order)
        for key in ("axis", "axes"):
            if key in attributes:
                attributes[key] = storage_axes(attributes[key], order, rank)
    return LaidOutOperands([None if v is None else v.in_order(order) for v in operands], attributes, order)


def storage_axes(axes: Any, order: Order | None, rank: int) -> Any:
    """ONNX axis numbers (one or a sequence, negatives allowed) as storage axis numbers."""
    if isinstance(axes, (int, np.integer)):
        axis = int(axes) + rank if axes < 0 else int(axes)
        return axis if order is None else order.index(axis)
    return [storage_axes(int(axis), order, rank) for axis in axes]


def common_order(operands: Sequence[Value | None]) -> Order | None:
    """The order that costs least to bring all operands into.

    Constants and fillings have any order for free, and so do tensors of lower rank; among the rest an order that some
    operand already has is taken, a re-ordered one (a convolution's) before ONNX's own.
    """
    present = [v for v in operands if v is not None]
    if any(v.rank is None for v in present):
        return None
    rank = max((v.rank or 0 for v in present), default=0)
    full = [v for v in present if v.rank == rank and not v.has_any_order and v.elements is None]
    return next((v.order for v in full if v.order is not None), None)


def aligned(value: Value, order: Order | None, rank: int) -> tf.Tensor:
    """The operand of an elementwise op over `rank` axes stored in `order`, ready for broadcasting."""
    if order is None:
        return value.tensor
    if value.rank == rank:
        if value.array is not None:
            return _constant(value, np.transpose(value.array, order))
        return value.in_order(order)
    if value.array is not None:
        shape = (1,) * (rank - value.array.ndim) + value.array.shape
        return _constant(value, np.transpose(value.array.reshape(shape), order))
    if value.rank == 0:
        return value.tensor
    tensor = value.tensor
    for _ in range(rank - (value.rank or 0)):
        tensor = tf.expand_dims(tensor, 0)
    return transpose(tensor, order)


def _constant(value: Value, array: np.ndarray[Any, Any]) -> tf.Tensor:
    """Leading axes of size 1 are dropped: TensorFlow recognises a bias by its single axis."""
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return Value.constant(np.ascontiguousarray(array), value.store, value.name).tensor
