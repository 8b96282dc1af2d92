"""Brings an operator's operands into the axis order that its handler declares."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native import ranks
from bundler.converters.native.contents import Image
from bundler.converters.native.context import Target
from bundler.converters.native.dims import Element
from bundler.converters.native.orders import Order, channels_last
from bundler.converters.native.registry import AxisPolicy
from bundler.converters.native.tensors import Tensor, transpose
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array


@dataclass
class LaidOutOperands:
    """Operands as tensors in the order that a handler declares.

    Attributes:
        tensors: one per operand; None for one that is left out or static.
        attributes: the node's attributes with their axes re-mapped.
        order: the storage order of the result.
        flattened_sizes: if the tensors are rows, the sizes that the result's rows stand for.
        image: the image that the tensors are computed from, if its sizes are not set yet.
        merged_sizes: if axes of the tensors are merged because they are too many for a kernel, the result's sizes.
    """

    tensors: list[Tensor | None]
    attributes: dict[str, Any]
    order: Order | None
    flattened_sizes: tuple[Element, ...] | None = None
    image: Image | None = None
    merged_sizes: list[ranks.Size] | None = None

    def value(self, tensor: Tensor, store: WeightStore) -> Value:
        """Wrap the result, which is stored as the operands are."""
        if self.flattened_sizes is not None and tensor.shape.rank == 2:
            return Value.from_flattened(tensor, self.flattened_sizes, store, self.order)
        if self.image is not None and tensor.shape.rank == len(self.image.sizes):
            return Value.convolved(replace(self.image, tensor=tensor, takes_sum=False), store, self.order)
        if self.merged_sizes is not None:
            tensor = ranks.reshaped(tensor, self.merged_sizes)
        return Value.of(tensor, store, self.order)


def lay_out(
    policy: AxisPolicy, operands: Sequence[Value | None], static: Collection[int], attributes: dict[str, Any],
    target: Target,
) -> LaidOutOperands:  # fmt: skip
    """Bring operands into the order that a handler declares.

    Args:
        policy: the handler's layout.
        operands: the node's inputs; None for one that is left out.
        static: positions of the operands that the handler takes as arrays; they are left to the caller.
        attributes: the node's attributes.
        target: what the graph is for.
    """
    dynamic = [None if i in static else v for i, v in enumerate(operands)]
    if policy is AxisPolicy.ELEMENTWISE:
        return elementwise(dynamic, attributes, target)
    if policy is AxisPolicy.AXIS:
        return by_axis(dynamic, attributes)
    if policy is AxisPolicy.SPATIAL:
        order = channels_last(known_rank(dynamic[0]))
        first = dynamic[0].in_order(order) if dynamic[0] is not None else None
        return LaidOutOperands([first, *(None if v is None else v.tensor for v in dynamic[1:])], attributes, order)
    return LaidOutOperands([None if v is None else v.tensor for v in dynamic], attributes, None)


def elementwise(
    operands: Sequence[Value | None], attributes: dict[str, Any] | None = None, target: Target = "serving"
) -> LaidOutOperands:
    """Bring the operands of an elementwise operator into one order.

    They become rows if they all consist of rows; otherwise axes are merged if there are more of them than kernels take.
    """
    order = common_order(operands)
    rank = max((v.rank or 0 for v in operands if v is not None), default=0)
    image = _common_image(operands)
    if image is not None:
        tensors = [None if v is None else v.image.tensor if v.image else aligned(v, order, rank) for v in operands]
        return LaidOutOperands(tensors, attributes or {}, order, image=image)
    sizes = _common_flattened_sizes(operands, rank)
    if sizes is not None:
        tensors = [None if v is None else _flattened_operand(v, rank) for v in operands]
        return LaidOutOperands(tensors, attributes or {}, order, sizes)
    tensors = [None if v is None else aligned(v, order, rank) for v in operands]
    tensors, merged_sizes = ranks.merged_operands(tensors, target)
    return LaidOutOperands(tensors, attributes or {}, order, merged_sizes=merged_sizes)


def by_axis(operands: Sequence[Value | None], attributes: dict[str, Any]) -> LaidOutOperands:
    """Bring operands into one order and re-map the attributes `axis` and `axes` to it."""
    order = common_order(operands)
    attributes = dict(attributes)
    if order is not None:
        rank = len(order)
        for key in ("axis", "axes"):
            if key in attributes:
                attributes[key] = storage_axes(attributes[key], order, rank)
    return LaidOutOperands([None if v is None else v.in_order(order) for v in operands], attributes, order)


def _common_image(operands: Sequence[Value | None]) -> Image | None:
    """Return an image of the source that all operands are computed from, apart from single numbers."""
    present = [v for v in operands if v is not None]
    images = [v.image for v in present if v.image is not None]
    if not images or any(image.source is not images[0].source for image in images):
        return None
    is_number = (v.array is not None and v.array.size == 1 and v.array.ndim <= len(images[0].sizes) for v in present)
    return images[0] if all(v.image is not None or number for v, number in zip(present, is_number, strict=True)) else None


def _common_flattened_sizes(operands: Sequence[Value | None], rank: int) -> tuple[Element, ...] | None:
    """The sizes of the operands if all of them consist of rows, apart from constants by channel and single numbers."""
    full = [v for v in operands if v is not None and v.rank == rank and not v.is_constant]
    others = [v for v in operands if v is not None and not (v.rank == rank and not v.is_constant)]
    sizes = full[0].flattened_sizes if full else None
    if sizes is None or any(v.flattened_sizes != sizes or v.order != full[0].order for v in full):
        return None
    return sizes if all(_broadcasts_over_rows(v, full[0].order, rank, sizes[-1]) for v in others) else None


def _broadcasts_over_rows(value: Value, order: Order | None, rank: int, channels: Element) -> bool:
    if value.array is None:
        return value.rank == 0 and value.elements is None
    last = rank - 1 if order is None else order[-1]
    sizes = (1,) * (rank - value.array.ndim) + value.array.shape
    return all(size == 1 or (axis == last and size == channels) for axis, size in enumerate(sizes))


def _flattened_operand(value: Value, rank: int) -> Tensor:
    if value.array is None:
        return value.rows if value.rank == rank else value.tensor
    return _constant(value, value.array.reshape(-1) if value.array.size > 1 else value.array.reshape(()))


def both_flattened(a: Value, b: Value) -> tuple[Value, Value]:
    """Turn two values of the same sizes into rows if one of them consists of rows and both have the same order."""
    if a.order != b.order or (a.flattened_sizes is None) == (b.flattened_sizes is None):
        return a, b
    sizes = a.flattened_sizes or b.flattened_sizes
    assert sizes is not None
    first, second = (
        v if v.flattened_sizes is not None else Value.from_flattened(v.rows, sizes, v.store, v.order) for v in (a, b)
    )
    return first, second


def known_rank(value: Value | None) -> int:
    """Return the rank of an operand.

    Raises:
        ValueError: it is known only at run time.
    """
    if value is None or value.rank is None:
        raise ValueError("the rank of its input is not known at build time")
    return value.rank


def storage_axes(axes: Any, order: Order | None, rank: int) -> Any:
    """Return ONNX axis numbers (one or a sequence, negatives allowed) as storage axis numbers."""
    if isinstance(axes, (int, np.integer)):
        axis = int(axes) + rank if axes < 0 else int(axes)
        return axis if order is None else order.index(axis)
    return [storage_axes(int(axis), order, rank) for axis in axes]


def common_order(operands: Sequence[Value | None]) -> Order | None:
    """Return the order that costs least to bring all operands into.

    Constants and fillings have any order for free, and so do tensors of lower rank. Of the other operands, the first
    with another order than ONNX's (a convolution's result, for example) decides.
    """
    present = [v for v in operands if v is not None]
    if any(v.rank is None for v in present):
        return None
    rank = max((v.rank or 0 for v in present), default=0)
    full = [v for v in present if v.rank == rank and not v.has_any_order and v.elements is None]
    return next((v.order for v in full if v.order is not None), None)


def aligned(value: Value, order: Order | None, rank: int) -> Tensor:
    """Return the operand of an elementwise operator over `rank` axes stored in `order`, ready for broadcasting."""
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


def _constant(value: Value, array: Array) -> Tensor:
    """Drop leading axes of size 1: TensorFlow recognises a bias by its single axis."""
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return Value.constant(np.ascontiguousarray(array), value.store, value.name).tensor
