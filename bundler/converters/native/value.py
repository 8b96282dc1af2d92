"""Value: what flows between lowered nodes, a tensor and the order its axes are stored in.

`order[s]` is the ONNX axis that storage axis `s` holds; None stands for ONNX's own order. A channels-last image is
`(0, 2, 3, 1)`. An ONNX Transpose only changes the order; data moves when an op needs another order (`in_order`), at most
once, because every form is remembered.

Small integer vectors that describe shapes are kept as `elements`: Python ints where the size is known at build time, `Dim`
where it is dynamic. They become tensors only if an op consumes them as data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.contents import Constant, Content, Convolved, Filling, Flattened, Image, Sizes, Stored
from bundler.converters.native.dims import Dim, Element
from bundler.converters.native.orders import Order, canonical, identity
from bundler.converters.native.quant_params import QuantParams
from bundler.converters.native.tensors import Tensor, TensorCache, transpose
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array


class Value:
    """An ONNX value in the lowered graph.

    Attributes:
        store: the model's weights.
        name: ONNX's name for it; empty within a handler.
        order: the storage order, or None for ONNX's own.
        dim_names: ONNX's names for its dynamic sizes, one entry per axis.
        non_negative: whether no element is below zero, as after a Relu.
        parts: the values that it is the concatenation of, along the channels (axis 1).
        quant_params: how a dequantized constant was quantized.
    """

    __slots__ = (
        "_content", "_forms", "_offers", "_rows", "dim_names", "name", "non_negative", "order", "parts", "quant_params",
        "store",
    )  # fmt: skip

    def __init__(
        self, store: WeightStore, name: str = "", content: Content | None = None, order: Order | None = None
    ) -> None:
        self.store = store
        self.name = name
        self.order = canonical(order)
        self.dim_names: tuple[str | None, ...] | None = None
        self.non_negative = False
        self.parts: tuple[Value, ...] = ()
        self.quant_params: QuantParams | None = None
        self._content = content or Content()
        self._forms: TensorCache[Order | None] = TensorCache()
        self._rows: TensorCache[None] = TensorCache()
        self._offers: dict[Order | None, Callable[[], Tensor]] = {}

    @classmethod
    def constant(cls, array: Array, store: WeightStore, name: str = "") -> Value:
        """Wrap an array that is known at build time."""
        return cls(store, name, Constant(array))

    @classmethod
    def of(cls, tensor: tf.Tensor, store: WeightStore, order: Order | None = None, name: str = "") -> Value:
        """Wrap a tensor whose storage axes hold the ONNX axes `order`."""
        value = cls(store, name, Stored(tensor), order)
        value._forms.put(value.order, tensor)
        return value

    @classmethod
    def from_flattened(cls, rows: tf.Tensor, sizes: Sequence[Element], store: WeightStore, order: Order | None = None) -> Value:
        """Wrap the rows [-1, C] of a tensor with these sizes in storage order; reshape them only when needed.

        What is computed element by element works on the rows, next to the product that they come from, where TensorFlow
        fuses it.
        """
        value = cls(store, "", Flattened(rows, tuple(sizes)), order)
        value._rows.put(None, rows)
        return value

    @classmethod
    def convolved(cls, image: Image, store: WeightStore, order: Order | None) -> Value:
        """Wrap a convolution's image; its sizes are set only when needed, so that TensorFlow fuses what follows it."""
        return cls(store, "", Convolved(image), order)

    @classmethod
    def vector(cls, elements: Sequence[Element] | Element, store: WeightStore, dtype: Any = np.int64) -> Value:
        """Wrap the sizes of a shape-like integer vector, or of a scalar if `elements` is a single size."""
        scalar = isinstance(elements, (int, Dim))
        items: tuple[Element, ...] = (elements,) if scalar else tuple(elements)  # type: ignore[assignment,arg-type]
        if all(isinstance(e, int) for e in items):
            data = items[0] if scalar else list(items)
            return cls.constant(np.array(data, dtype=dtype), store)
        return cls(store, "", Sizes(items, is_scalar=scalar))

    @classmethod
    def filled(cls, item: Array, sizes: Sequence[Element], store: WeightStore) -> Value:
        """Repeat one number (an array of any shape with one item) over these sizes, in whichever order is needed."""
        return cls(store, "", Filling(item.reshape(()), tuple(sizes)))

    # -- what is known at build time ------------------------------------------------------------------------------

    @property
    def array(self) -> Array | None:
        """The value of a constant, or None."""
        return self._content.array

    @property
    def is_constant(self) -> bool:
        """Whether the value is known at build time."""
        return self._content.array is not None

    @property
    def elements(self) -> tuple[Element, ...] | None:
        """The items of an integer vector or scalar as far as they are known, or None if this is ordinary data."""
        return self._content.elements

    @property
    def is_symbolic(self) -> bool:
        """Whether this is an integer vector with a dynamic element."""
        return self._content.is_symbolic

    @property
    def filling(self) -> Array | None:
        """The number, as an array without axes, of a value that is one number everywhere (`filled`), or None."""
        return self._content.filling

    @property
    def flattened_sizes(self) -> tuple[Element, ...] | None:
        """The sizes in storage order of a value that consists of rows (`from_flattened`), or None."""
        return self._content.flattened_sizes

    @property
    def image(self) -> Image | None:
        """The image of a convolution whose sizes are not set yet (`convolved`), or None."""
        return self._content.image

    @property
    def has_any_order(self) -> bool:
        """Whether all orders cost the same: constants are moved at build time, fillings are made in any order."""
        return self._content.has_any_order

    @property
    def dtype(self) -> tf.DType:
        """The TensorFlow dtype."""
        return self._content.dtype

    @property
    def rank(self) -> int | None:
        """The number of axes, or None if it is known only at run time."""
        return self._content.rank

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes in ONNX's axis order; None for dynamic ones. The rank must be known."""
        stored = self._content.stored_sizes
        if self.order is None:
            return tuple(stored)
        sizes: list[int | None] = [None] * len(stored)
        for storage_axis, axis in enumerate(self.order):
            sizes[axis] = stored[storage_axis]
        return tuple(sizes)

    # -- tensors --------------------------------------------------------------------------------------------------

    @property
    def stored(self) -> tf.Tensor:
        """The tensor as it is stored, with its axes in `order`."""
        return self._forms.get(self.order, lambda: self._content.stored(self.store, self.name))

    @property
    def rows(self) -> tf.Tensor:
        """The stored tensor as [-1, C]. The size of the last stored axis must be known."""
        return self._rows.get(None, lambda: tf.reshape(self.stored, [-1, self.stored.shape[-1]]))

    @property
    def tensor(self) -> tf.Tensor:
        """The tensor in ONNX's axis order."""
        return self.in_order(None)

    def in_order(self, order: Order | None) -> tf.Tensor:
        """Return the tensor with its axes in this order; constants are moved at build time, other tensors once."""
        wanted = canonical(order)
        return self._forms.get(wanted, lambda: self._made(wanted))

    def offer(self, order: Order | None, make: Callable[[], Tensor]) -> None:
        """Register a way to compute the tensor in this order that is cheaper than moving the stored one."""
        self._offers[order] = make

    def _made(self, order: Order | None) -> tf.Tensor:
        if order in self._offers:
            return self._offers[order]()
        tensor = self._content.in_order(order, self.store, self.name)
        if tensor is not None:
            return tensor
        stored = self.stored
        if order == self.order:
            return stored
        rank = stored.shape.rank
        current, wanted = self.order or identity(rank), order or identity(rank)
        return transpose(stored, [current.index(axis) for axis in wanted])
