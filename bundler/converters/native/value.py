"""Value: what flows between lowered nodes — a tensor and the order its axes are stored in.

`order[s]` is the ONNX axis that storage axis `s` holds; None stands for ONNX's own order. A channels-last image is
`(0, 2, 3, 1)`. An ONNX Transpose only changes the order; data moves when an op asks for another one (`in_order`), at most
once, because every form is remembered.

Small integer vectors that describe shapes are kept as `elements`: Python ints where the size is known at build time, `Dim`
where it is dynamic. They become tensors only if an op consumes them as data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array

Order: TypeAlias = "tuple[int, ...]"
Tensor: TypeAlias = Any
"""tf.Tensor; TensorFlow ships no type stubs."""
Key = TypeVar("Key")


class Scoped(Generic[Key]):
    """Tensors remembered by key, within the graph that made them.

    A tensor made while a branch or a loop body is traced does not exist outside of it; one made outside can be used inside.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[tuple[Any, Key], Tensor] = {}

    def get(self, key: Key, make: Callable[[], Tensor]) -> Tensor:
        here = graph = tf.compat.v1.get_default_graph()
        while graph is not None:
            if (graph, key) in self._made:
                return self._made[graph, key]
            graph = getattr(graph, "outer_graph", None)
        self._made[here, key] = made = make()
        return made

    def put(self, key: Key, tensor: Tensor) -> None:
        self._made[tf.compat.v1.get_default_graph(), key] = tensor


class Dim:
    """A dynamic size: its name (ONNX's dim_param or an expression over such) and how to compute it (int64 scalar)."""

    __slots__ = ("_make", "_tensors", "name")

    def __init__(self, name: str, make: Callable[[], tf.Tensor]) -> None:
        self.name = name
        self._make = make
        self._tensors: Scoped[None] = Scoped()

    @property
    def tensor(self) -> tf.Tensor:
        return self._tensors.get(None, self._make)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Dim({self.name})"


Element: TypeAlias = "int | Dim"


def tensor_of(element: Element) -> tf.Tensor:
    """An int64 scalar."""
    return element.tensor if isinstance(element, Dim) else tf.constant(element, tf.int64)


def tensor_shape(elements: Sequence[Element]) -> Any:
    """Sizes in the form tf.reshape wants: a list, with -1 for the dynamic one where there is only one, else a tensor."""
    dynamic = [e for e in elements if isinstance(e, Dim) or e == -1]
    if len(dynamic) <= 1:
        return [-1 if isinstance(e, Dim) else e for e in elements]
    return tf.stack([tensor_of(e) for e in elements])


def identity(rank: int) -> Order:
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """(0, 2, …, rank-1, 1): N, spatial axes, C."""
    return (0, *range(2, rank), 1)


def channels_first_permutation(rank: int) -> Order:
    """The tf.transpose permutation from channels-last storage back to ONNX's order."""
    return (0, rank - 1, *range(1, rank - 1))


class QuantParams(NamedTuple):
    """Of a constant that was quantized: real = (step - zero_point) * scale, with steps from low to high.

    Attributes:
        scale: one, or one a channel.
    """

    scale: Array
    zero_point: int
    low: int
    high: int


class Value:
    """One ONNX value in the lowered graph. Exactly one of `array`, `elements`, a filling, a tensor is what it was made from."""

    __slots__ = (
        "_elements", "_filling", "_forms", "_offers", "_rows", "array", "dim_names", "name", "non_negative", "order", "parts",
        "rows_sizes", "steps", "store",
    )  # fmt: skip

    def __init__(self, store: WeightStore, name: str = "") -> None:
        self.store = store
        self._forms: Scoped[Order | None] = Scoped()
        self._offers: dict[Order | None, Callable[[], Tensor]] = {}
        self._elements: tuple[Element, ...] | Element | None = None
        self._filling: tuple[Array, tuple[Element, ...]] | None = None
        self.array: Array | None = None
        self.order: Order | None = None
        self.name = name
        self.dim_names: tuple[str | None, ...] | None = None
        self.non_negative = False
        self.parts: tuple[Value, ...] = ()
        """What it is the concatenation of, over channels (axis 1)."""
        self._rows: Scoped[None] = Scoped()
        self.rows_sizes: tuple[Element, ...] | None = None
        """Of a value made of rows (`from_flattened`): its sizes, in the order of storage."""
        self.steps: QuantParams | None = None

    @classmethod
    def constant(cls, array: Array, store: WeightStore, name: str = "") -> Value:
        value = cls(store, name)
        value.array = array
        return value

    @classmethod
    def of(cls, tensor: tf.Tensor, store: WeightStore, order: Order | None = None, name: str = "") -> Value:
        """A tensor whose storage axes hold the ONNX axes `order`."""
        value = cls(store, name)
        if order is not None and order == identity(len(order)):
            order = None
        value.order = order
        value._forms.put(order, tensor)
        return value

    @classmethod
    def from_flattened(cls, rows: tf.Tensor, sizes: Sequence[Element], store: WeightStore, order: Order | None = None) -> Value:
        """The rows [-1, C] of a tensor with these sizes, in the order of storage; it is put into their shape when asked for.

        What is computed element by element stays rows, next to the product that they come from, where TensorFlow fuses it.
        """
        value = cls(store)
        value.order = None if order is not None and order == identity(len(order)) else order
        value._rows.put(None, rows)
        value.rows_sizes = tuple(sizes)
        return value

    @classmethod
    def vector(cls, elements: Sequence[Element] | Element, store: WeightStore, dtype: Any = np.int64) -> Value:
        """A shape-like int vector (or a scalar, given one element)."""
        scalar = isinstance(elements, (int, Dim))
        items: tuple[Element, ...] = (elements,) if scalar else tuple(elements)  # type: ignore[assignment,arg-type]
        if all(isinstance(e, int) for e in items):
            data = items[0] if scalar else list(items)
            return cls.constant(np.array(data, dtype=dtype), store)
        value = cls(store)
        value._elements = items[0] if scalar else items
        return value

    @classmethod
    def filled(cls, item: Array, sizes: Sequence[Element], store: WeightStore) -> Value:
        """One number (an array of any shape with one item) everywhere: made in whatever order it is asked for."""
        value = cls(store)
        value._filling = (item.reshape(()), tuple(sizes))
        return value

    # -- what is known at build time ------------------------------------------------------------------------------

    @property
    def is_constant(self) -> bool:
        return self.array is not None

    @property
    def elements(self) -> tuple[Element, ...] | None:
        """The items of an int vector or scalar as far as they are known, or None if this is ordinary data."""
        if self._elements is not None:
            return self._elements if isinstance(self._elements, tuple) else (self._elements,)
        if self.array is not None and self.array.ndim <= 1 and self.array.size <= 64 and self.array.dtype.kind in "iu":
            return tuple(int(v) for v in self.array.reshape(-1))
        return None

    @property
    def has_any_order(self) -> bool:
        """Whether all orders cost the same: constants are moved at build time, fillings are made as they are wanted."""
        return self.array is not None or self._filling is not None

    @property
    def filling(self) -> Array | None:
        """Of a value that is one number everywhere (`filled`): that number, as an array without axes."""
        return None if self._filling is None else self._filling[0]

    @property
    def is_symbolic(self) -> bool:
        """An int vector with a dynamic element."""
        return self._elements is not None

    @property
    def dtype(self) -> tf.DType:
        if self.array is not None:
            return tf.as_dtype(self.array.dtype) if self.array.dtype.kind not in "OUS" else tf.string
        if self._elements is not None:
            return tf.int64
        if self._filling is not None:
            return tf.as_dtype(self._filling[0].dtype)
        return self.rows.dtype if self.rows_sizes is not None else self.stored.dtype

    @property
    def rank(self) -> int | None:
        if self.array is not None:
            return self.array.ndim
        if self._elements is not None:
            return 1 if isinstance(self._elements, tuple) else 0
        if self.rows_sizes is not None:
            return len(self.rows_sizes)
        if self._filling is not None:
            return len(self._filling[1])
        rank: int | None = self.stored.shape.rank
        return rank

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes in ONNX's axis order; None for dynamic ones. Needs a known rank."""
        if self.array is not None:
            return self.array.shape
        if self._elements is not None:
            return (len(self._elements),) if isinstance(self._elements, tuple) else ()
        if self._filling is not None:
            return tuple(size if isinstance(size, int) else None for size in self._filling[1])
        stored = self._stored_sizes()
        if self.order is None:
            return tuple(stored)
        sizes: list[int | None] = [None] * len(stored)
        for storage_axis, axis in enumerate(self.order):
            sizes[axis] = stored[storage_axis]
        return tuple(sizes)

    def _stored_sizes(self) -> list[int | None]:
        if self.rows_sizes is not None:
            return [size if isinstance(size, int) else None for size in self.rows_sizes]
        sizes: list[int | None] = self.stored.shape.as_list()
        return sizes

    # -- tensors --------------------------------------------------------------------------------------------------

    @property
    def stored(self) -> tf.Tensor:
        """The tensor as it is stored, axes in `order`."""
        return self._forms.get(self.order, self._materialise)

    @property
    def rows(self) -> tf.Tensor:
        """The stored tensor as [-1, C]. Needs a last stored axis of known size."""
        return self._rows.get(None, lambda: tf.reshape(self.stored, [-1, self.stored.shape[-1]]))

    @property
    def tensor(self) -> tf.Tensor:
        """The tensor in ONNX's axis order."""
        return self.in_order(None)

    def _materialise(self) -> tf.Tensor:
        if self.array is not None:
            return self.store.tensor(self.array, self.name)
        if self.rows_sizes is not None:
            return tf.reshape(self.rows, tensor_shape(self.rows_sizes))
        if self._filling is not None:
            return self._fill(None)
        assert self._elements is not None
        if isinstance(self._elements, Dim):
            return self._elements.tensor
        if not isinstance(self._elements, tuple):
            return tf.constant(self._elements, tf.int64)
        return tf.stack([e.tensor if isinstance(e, Dim) else tf.constant(e, tf.int64) for e in self._elements])

    def in_order(self, order: Order | None) -> tf.Tensor:
        """The tensor with its axes in this order; constants are moved at build time, moved tensors are remembered."""
        if order is not None and order == identity(len(order)):
            order = None
        return self._forms.get(order, lambda: self._move(order))

    def offer(self, order: Order | None, make: Callable[[], Tensor]) -> None:
        """A way to compute the tensor in this order that is cheaper than moving the stored one."""
        self._offers[order] = make

    def _move(self, order: Order | None) -> tf.Tensor:
        if order in self._offers:
            return self._offers[order]()
        if self.array is not None:
            moved = self.array if order is None else np.ascontiguousarray(self.array.transpose(order))
            return self.store.tensor(moved, self.name)
        if self._filling is not None:
            return self._fill(order)
        stored = self.stored
        if order == self.order:
            return stored
        rank = stored.shape.rank
        have = self.order or identity(rank)
        want = order or identity(rank)
        permutation = [have.index(axis) for axis in want]
        return transpose(stored, permutation)

    def _fill(self, order: Order | None) -> tf.Tensor:
        assert self._filling is not None
        item, sizes = self._filling
        placed = [sizes[axis] for axis in order or identity(len(sizes))]
        return tf.fill(tf.stack([tensor_of(e) for e in placed]) if placed else [], tf.constant(item))


def transpose(tensor: tf.Tensor, permutation: Sequence[int]) -> tf.Tensor:
    """tf.transpose, or a reshape where only axes of size 1 move (which leaves the data where it is)."""
    sizes = tensor.shape.as_list()
    if list(permutation) == list(range(len(sizes))):
        return tensor
    moving = [axis for axis in permutation if sizes[axis] != 1]
    target = [sizes[axis] for axis in permutation]
    if moving == sorted(moving) and sum(size is None for size in target) <= 1:
        return tf.reshape(tensor, [-1 if size is None else size for size in target])
    return tf.transpose(tensor, permutation)
