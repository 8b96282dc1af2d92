"""What a handler may ask of the conversion it is part of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.contents import Image
from bundler.converters.native.dims import Dim, full_shape
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.errors import ConversionError
from bundler.graph.provenance import describe_node
from bundler.values.arrays import Array

Target: TypeAlias = Literal["serving", "tflite"]


@dataclass
class Context:
    """The conversion as a handler sees it.

    Attributes:
        store: the model's weights.
        opset: the model's opset of ONNX's own domain.
        target: what the graph is for; some operators have a faster form for one of the two.
        dims: the dynamic sizes by name.
        node: the node that is being lowered.
        subgraph: lowers a graph attribute (a branch, a loop body) for these inputs; the graph sees the values around it.
    """

    store: WeightStore
    opset: int
    target: Target
    dims: dict[str, Dim] = field(default_factory=dict)
    node: ir.Node | None = None
    subgraph: Callable[[ir.Graph, Sequence[Value]], list[Value]] | None = None

    def value(self, tensor: tf.Tensor, order: tuple[int, ...] | None = None) -> Value:
        """Wrap a tensor whose storage axes hold the ONNX axes `order`; None stands for ONNX's own order."""
        return Value.of(tensor, self.store, order)

    def convolved(
        self, image: tf.Tensor, sizes: Sequence[int | Dim], order: tuple[int, ...], *, takes_sum: bool = False
    ) -> Value:
        """Wrap what a convolution returns.

        Where its sizes are dynamic, oneDNN may return another shape (contents.Image). TFLite does not run oneDNN.

        Args:
            image: the tensor.
            sizes: the sizes that it has, in storage order.
            order: the storage order.
            takes_sum: whether TensorFlow fuses a sum into the convolution.
        """
        if 0 in sizes:
            return self.value(tf.zeros(full_shape(sizes), image.dtype), order)
        if self.target == "tflite" or all(isinstance(size, int) for size in sizes):
            return self.value(image, order)
        return Value.convolved(Image(image, tuple(sizes), image, takes_sum), self.store, order)

    def constant(self, array: Array) -> Value:
        """Wrap an array that is known at build time."""
        return Value.constant(np.asarray(array), self.store)

    def weight(self, array: Array, name: str = "") -> tf.Tensor:
        """Return an array made from a weight (moved, folded) as a tensor; a large one is a shared variable of the model."""
        return self.store.tensor(array, name)

    def dim(self, value: Value, axis: int) -> int | Dim:
        """Return the size of an axis (ONNX's numbering): an int if known, otherwise a Dim under ONNX's name for it."""
        size = value.shape[axis]
        if size is not None:
            return size
        known = value.dim_names[axis] if value.dim_names else None
        name = known or f"{value.name or id(value)}.{axis}"  # a nameless value is a handler's own; its Dim keeps it alive
        if name not in self.dims:
            storage_axis = axis if value.order is None else value.order.index(axis)
            self.dims[name] = Dim(name, lambda: tf.shape(value.stored, out_type=tf.int64)[storage_axis])
        return self.dims[name]

    def merge_dim_names(self, value: Value, declared: tuple[str | None, ...] | None) -> tuple[str | None, ...] | None:
        """Combine the names that a handler knows for a value's dims with ONNX's, which are often fresh ones.

        The handler's name of a dim wins; ONNX's name then stands for the same Dim.
        """
        known = value.dim_names
        if known is None or declared is None or len(known) != len(declared):
            return known or declared
        for name, other in zip(known, declared, strict=True):
            if name and other and name in self.dims:
                self.dims.setdefault(other, self.dims[name])
        return tuple(name or other for name, other in zip(known, declared, strict=True))

    def sizes(self, value: Value) -> list[int | Dim]:
        """Return all sizes of a value in ONNX's axis order."""
        return [self.dim(value, axis) for axis in range(len(value.shape))]

    def reject(self, what: str, fix: str | None = None) -> ConversionError:
        """Return the error of a handler that cannot lower its node; the handler raises it.

        Args:
            what: the reason, a sentence that names the operator.
            fix: what the user can do about it.
        """
        return ConversionError(what, where=describe_node(self.node) if self.node else None, fix=fix, code="TFB3002")
