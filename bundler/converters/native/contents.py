"""What a Value is made from: a constant, a vector of sizes, one repeated number, flattened rows, or a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bundler.converters.native.dims import Dim, Element, from_sizes, full_shape, larger, tensor_of, tensor_shape
from bundler.converters.native.orders import Order, identity
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array

_LONGEST_VECTOR = 64
"""Integer constants of up to this many items take part in shape arithmetic."""


class Content:
    """The source of a Value. This base class is that of sequences and optionals, which are no tensors.

    Attributes:
        array: the value of a constant.
        filling: the number of a filling, as an array without axes.
        flattened_sizes: the sizes of a flattened tensor, in storage order.
        image: the image that a convolution returns, or what was computed from it element by element.
        has_any_order: whether every storage order costs the same.
        is_symbolic: whether this is an integer vector with a dynamic element.
    """

    array: Array | None = None
    filling: Array | None = None
    flattened_sizes: tuple[Element, ...] | None = None
    image: Image | None = None
    has_any_order = False
    is_symbolic = False

    @property
    def elements(self) -> tuple[Element, ...] | None:
        """The items of an integer vector or scalar, as far as they are known."""
        return None

    @property
    def dtype(self) -> tf.DType:
        """The dtype of the tensor."""
        raise ValueError("a sequence or an optional has no dtype")

    @property
    def rank(self) -> int | None:
        """The number of axes, or None if it is known only at run time."""
        return None

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The sizes in storage order; None for a dynamic one. The rank must be known."""
        raise ValueError("a sequence or an optional has no shape")

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Make the tensor in its storage order."""
        raise ValueError("a sequence or an optional is given where a tensor is needed")

    def in_order(self, order: Order | None, store: WeightStore, name: str) -> Tensor | None:
        """Make the tensor in this order without moving data at run time; None if that is not possible."""
        return None


class Constant(Content):
    """An array that is known at build time: a weight, or a result of folding."""

    array: Array
    has_any_order = True

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def elements(self) -> tuple[Element, ...] | None:
        """The items of a short integer vector or scalar; None for other arrays."""
        if self.array.ndim <= 1 and self.array.size <= _LONGEST_VECTOR and self.array.dtype.kind in "iu":
            return tuple(int(v) for v in self.array.reshape(-1))
        return None

    @property
    def dtype(self) -> tf.DType:
        """The array's dtype; tf.string for text."""
        return tf.as_dtype(self.array.dtype) if self.array.dtype.kind not in "OUS" else tf.string

    @property
    def rank(self) -> int:
        """The array's rank."""
        return self.array.ndim

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The array's shape."""
        return self.array.shape

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Return a constant, or the value of a variable if the array is large."""
        return store.tensor(self.array, name)

    def in_order(self, order: Order | None, store: WeightStore, name: str) -> Tensor:
        """Transpose the array at build time."""
        moved = self.array if order is None else np.ascontiguousarray(self.array.transpose(order))
        return store.tensor(moved, name)


class Sizes(Content):
    """An int64 vector, or a scalar if `is_scalar`, of which at least one item is dynamic."""

    is_symbolic = True

    def __init__(self, elements: tuple[Element, ...], *, is_scalar: bool) -> None:
        self._elements = elements
        self._is_scalar = is_scalar

    @property
    def elements(self) -> tuple[Element, ...]:
        """The items."""
        return self._elements

    @property
    def dtype(self) -> tf.DType:
        """The dtype of ONNX's Shape, int64."""
        return tf.int64

    @property
    def rank(self) -> int:
        """0 for a scalar, 1 for a vector."""
        return 0 if self._is_scalar else 1

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The number of items."""
        return () if self._is_scalar else (len(self._elements),)

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Compute the items at run time."""
        return tensor_of(self._elements[0]) if self._is_scalar else tf.stack([tensor_of(e) for e in self._elements])


class Filling(Content):
    """One number, an array without axes, repeated over `sizes`; it is made in whichever order is needed."""

    filling: Array
    has_any_order = True

    def __init__(self, filling: Array, sizes: tuple[Element, ...]) -> None:
        self.filling = filling
        self._sizes = sizes

    @property
    def dtype(self) -> tf.DType:
        """The number's dtype."""
        return tf.as_dtype(self.filling.dtype)

    @property
    def rank(self) -> int:
        """The number of sizes."""
        return len(self._sizes)

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The sizes, in ONNX's order."""
        return _static(self._sizes)

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Fill a tensor in ONNX's order."""
        return self.in_order(None, store, name)

    def in_order(self, order: Order | None, store: WeightStore, name: str) -> Tensor:
        """Fill a tensor in this order."""
        sizes = [self._sizes[axis] for axis in order or identity(len(self._sizes))]
        return tf.fill(tf.stack([tensor_of(e) for e in sizes]) if sizes else [], tf.constant(self.filling))


class Flattened(Content):
    """The rows [-1, C] of a tensor with these sizes in storage order; reshaped only if the tensor itself is needed."""

    flattened_sizes: tuple[Element, ...]

    def __init__(self, rows: Tensor, flattened_sizes: tuple[Element, ...]) -> None:
        self.rows = rows
        self.flattened_sizes = flattened_sizes

    @property
    def dtype(self) -> tf.DType:
        """The rows' dtype."""
        return self.rows.dtype

    @property
    def rank(self) -> int:
        """The rank of the tensor that the rows stand for."""
        return len(self.flattened_sizes)

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The sizes of the tensor that the rows stand for."""
        return _static(self.flattened_sizes)

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Reshape the rows."""
        return tf.reshape(self.rows, tensor_shape(self.flattened_sizes))


@dataclass(frozen=True)
class Image:
    """What a convolution returns, and what is computed from it element by element.

    oneDNN's convolutions return their input's shape where there is nothing to compute (mkl_conv_ops.cc: "output with 0
    elements"), so the shape is right only once it is set. TensorFlow fuses activations and sums into a convolution, so it is set
    after those.

    Attributes:
        tensor: the image in storage order.
        sizes: the sizes that it has, in storage order.
        source: the convolution's own tensor. Images of one source have the same shape even if it is wrong.
        takes_sum: whether this is a convolution with a bias, into which oneDNN fuses a sum.
    """

    tensor: Tensor
    sizes: tuple[Element, ...]
    source: Tensor
    takes_sum: bool = False

    def with_sizes(self) -> Tensor:
        """Return the image with its sizes, one of which is dynamic. This costs no copy.

        The optimizer removes a Reshape to the sizes that an image has by its own inference, where one of them or none is
        unknown. So the channels are computed as max(-n, channels) from a dynamic size n.
        """
        *sizes, channels = self.sizes
        dynamic = next(size for size in self.sizes if isinstance(size, Dim))
        hidden = from_sizes("hidden", lambda n, count: larger(-n, count), dynamic, channels)
        image = tf.reshape(self.tensor, full_shape([*sizes, hidden]))
        image.set_shape(self.tensor.shape)
        return image


class Convolved(Content):
    """An image; its sizes are set only if something else than an elementwise operator needs it."""

    image: Image

    def __init__(self, image: Image) -> None:
        self.image = image

    @property
    def dtype(self) -> tf.DType:
        """The image's dtype."""
        return self.image.tensor.dtype

    @property
    def rank(self) -> int:
        """The number of sizes."""
        return len(self.image.sizes)

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The sizes, as far as they are known."""
        return _static(self.image.sizes)

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Set the sizes."""
        return self.image.with_sizes()


class Stored(Content):
    """A tensor in its storage order."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    @property
    def dtype(self) -> tf.DType:
        """The tensor's dtype."""
        return self._tensor.dtype

    @property
    def rank(self) -> int | None:
        """The tensor's static rank."""
        rank: int | None = self._tensor.shape.rank
        return rank

    @property
    def stored_sizes(self) -> Sequence[int | None]:
        """The tensor's static shape."""
        sizes: list[int | None] = self._tensor.shape.as_list()
        return sizes

    def stored(self, store: WeightStore, name: str) -> Tensor:
        """Return the tensor."""
        return self._tensor


def _static(sizes: Sequence[Element]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in sizes)
