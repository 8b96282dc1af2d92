"""Sequences and optionals while a graph is lowered.

A sequence whose length is known at build time is a Python list of Values (`SequenceValue`). One whose length depends on the
inputs is a list of TensorFlow's (`ListValue`), which loops and branches carry as one tensor of the dtype `variant`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore


class SequenceValue(Value):
    """An ONNX sequence whose length is known at build time.

    Attributes:
        items: its elements, each a Value of its own shape.
        item_dtype: the dtype of the elements, for a sequence that may be empty.
    """

    __slots__ = ("item_dtype", "items")

    def __init__(self, items: Sequence[Value], store: WeightStore, item_dtype: tf.DType | None = None) -> None:
        super().__init__(store)
        self.items = tuple(items)
        self.item_dtype = items[0].dtype if items else item_dtype


class ListValue(Value):
    """An ONNX sequence whose length is known only at run time.

    Attributes:
        handle: TensorFlow's list, a scalar of the dtype `variant`.
        item_dtype: the dtype of the elements.
        item_shape: what the shapes of the elements have in common; None while no element is known.
    """

    __slots__ = ("handle", "item_dtype", "item_shape")

    def __init__(self, handle: Tensor, dtype: tf.DType, shape: tf.TensorShape | None, store: WeightStore) -> None:
        super().__init__(store)
        self.handle = handle
        self.item_dtype = dtype
        self.item_shape = shape

    @property
    def length(self) -> Tensor:
        """The number of elements, an int32 scalar."""
        return tf.raw_ops.TensorListLength(input_handle=self.handle)

    def at(self, index: Tensor) -> Tensor:
        """Return an element; the index is an int32 scalar that counts from the start."""
        shape = tf.TensorShape(None) if self.item_shape is None else self.item_shape
        item = tf.raw_ops.TensorListGetItem(
            input_handle=self.handle, index=index, element_shape=_as_argument(shape), element_dtype=self.item_dtype
        )
        item.set_shape(shape)
        return item

    def pushed(self, item: Tensor) -> ListValue:
        """Return the list with one more element at its end."""
        handle = tf.raw_ops.TensorListPushBack(input_handle=self.handle, tensor=item)
        return ListValue(handle, self.item_dtype, common_shape(self.item_shape, item.shape), self.store)


class EmptyOptional(Value):
    """An ONNX optional without an element. An optional with an element is represented by that element."""

    __slots__ = ()


@dataclass(frozen=True)
class ListOf:
    """The structure of a ListValue."""

    dtype: tf.DType
    shape: tf.TensorShape | None


def _as_argument(shape: tf.TensorShape) -> Any:
    """Return a shape in the form in which the list operators take it: -1 for what is not known."""
    return -1 if shape.rank is None else tf.constant([-1 if n is None else n for n in shape.as_list()], tf.int32)


def common_shape(a: tf.TensorShape | None, b: tf.TensorShape | None) -> tf.TensorShape | None:
    """Return what two shapes have in common; None stands for the shape of no element."""
    if a is None or b is None:
        return a if b is None else b
    return a.most_specific_compatible_shape(b)


def empty_list(dtype: tf.DType, store: WeightStore) -> ListValue:
    """Return a list without elements."""
    handle = tf.raw_ops.EmptyTensorList(element_shape=-1, max_num_elements=-1, element_dtype=dtype)
    return ListValue(handle, dtype, None, store)


def as_list(sequence: SequenceValue | ListValue) -> ListValue:
    """Return a sequence in the form whose length may be dynamic.

    Raises:
        ValueError: the sequence is empty and its dtype is not known.
    """
    if isinstance(sequence, ListValue):
        return sequence
    if sequence.item_dtype is None:
        raise ValueError("the dtype of an empty sequence is not known")
    result = empty_list(sequence.item_dtype, sequence.store)
    for item in sequence.items:
        result = result.pushed(item.tensor)
    return result


def make_list(count: Tensor, item: Callable[[Tensor], Tensor], store: WeightStore) -> ListValue:
    """Return a list of `count` elements (an int32 scalar), each made from its index."""
    return make_lists(count, lambda index: [item(index)], store)[0]


def make_lists(count: Tensor, items: Callable[[Tensor], Sequence[Tensor]], store: WeightStore) -> list[ListValue]:
    """Return lists of `count` elements, whose elements at an index are made together."""
    with tf.__internal__.FuncGraph("item").as_default():
        specs = [tf.TensorSpec(t.shape, t.dtype) for t in items(tf.compat.v1.placeholder(tf.int32, []))]
    start = [empty_list(s.dtype, store).handle for s in specs]

    def push(index: Tensor, handles: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        made = zip(handles, items(index), strict=True)
        return index + 1, [tf.raw_ops.TensorListPushBack(input_handle=handle, tensor=t) for handle, t in made]

    _, handles = tf.while_loop(lambda index, _: index < count, push, [tf.constant(0), start])
    return [ListValue(handle, s.dtype, s.shape, store) for handle, s in zip(handles, specs, strict=True)]


def concatenated(sequence: ListValue, axis: int) -> Tensor:
    """Return the elements of a list concatenated along an axis."""
    if axis == 0:
        return _concatenated_rows(sequence)
    count = sequence.at(tf.constant(0)).shape.rank
    order = _to_front(axis, tf.size(tf.shape(sequence.at(tf.constant(0)))) if count is None else tf.constant(count))
    rows = make_list(sequence.length, lambda index: tf.transpose(sequence.at(index), order), sequence.store)
    return tf.transpose(_concatenated_rows(rows), tf.math.invert_permutation(order))


def _concatenated_rows(sequence: ListValue) -> Tensor:
    shape = tf.TensorShape(None) if sequence.item_shape is None else sequence.item_shape
    argument = _as_argument(tf.TensorShape([None, *shape[1:]]) if shape.rank else tf.TensorShape(None))
    result, _ = tf.raw_ops.TensorListConcatV2(
        input_handle=sequence.handle, element_shape=argument, leading_dims=tf.constant([], tf.int64),
        element_dtype=sequence.item_dtype,
    )  # fmt: skip
    result.set_shape([None, *shape[1:]] if shape.rank else None)
    return result


def stacked(sequence: ListValue, axis: int) -> Tensor:
    """Return the elements of a list, which have one shape, along a new axis."""
    shape = tf.TensorShape(None) if sequence.item_shape is None else sequence.item_shape
    result = tf.raw_ops.TensorListStack(
        input_handle=sequence.handle, element_shape=_as_argument(shape), element_dtype=sequence.item_dtype
    )
    result.set_shape(tf.TensorShape([None]).concatenate(shape))
    if axis == 0:
        return result
    order = _to_front(axis, tf.size(tf.shape(result)) if shape.rank is None else tf.constant(shape.rank + 1))
    return tf.transpose(result, tf.math.invert_permutation(order))


def _to_front(axis: int, rank: Tensor) -> Tensor:
    """Return the permutation that moves an axis to the front."""
    place = tf.math.floormod(axis, rank)
    return tf.concat([[place], tf.range(place), tf.range(place + 1, rank)], 0)


def structure(value: Value) -> Any:
    """Describe how a value is built from tensors.

    A list for a sequence, `ListOf` for one of dynamic length, None for an empty optional, True for a tensor.
    """
    if isinstance(value, SequenceValue):
        return [structure(item) for item in value.items]
    if isinstance(value, ListValue):
        return ListOf(value.item_dtype, value.item_shape)
    return not isinstance(value, EmptyOptional) or None


def flatten(value: Value) -> list[Tensor]:
    """Return the tensors of a value, in the order in which `restore` takes them."""
    if isinstance(value, SequenceValue):
        return [tensor for item in value.items for tensor in flatten(item)]
    if isinstance(value, ListValue):
        return [value.handle]
    return [] if isinstance(value, EmptyOptional) else [value.tensor]


def restore(structures: Sequence[Any], tensors: Sequence[Tensor], store: WeightStore) -> list[Value]:
    """Build values of these structures from their tensors; the inverse of `structure` and `flatten`."""
    remaining = iter(tensors)

    def build(kind: Any) -> Value:
        if isinstance(kind, list):
            return SequenceValue([build(inner) for inner in kind], store)
        if isinstance(kind, ListOf):
            return ListValue(next(remaining), kind.dtype, kind.shape, store)
        return EmptyOptional(store) if kind is None else Value.of(next(remaining), store)

    return [build(kind) for kind in structures]
