"""What a handler may ask of the conversion it is part of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.value import Dim, Value
from bundler.converters.native.weights import WeightStore
from bundler.errors import ConversionError
from bundler.graph.provenance import describe_node
from bundler.values.arrays import Array

Target: TypeAlias = Literal["serving", "tflite"]


@dataclass
class Context:
    """What a handler may ask of the lowering: its node, the opset, the target, and how to make Values."""

    store: WeightStore
    opset: int
    target: Target
    dims: dict[str, Dim] = field(default_factory=dict)
    node: ir.Node | None = None
    subgraph: Callable[[ir.Graph, Sequence[Value]], list[Value]] | None = None
    """Lowers a graph attribute (a branch, a loop body) for these inputs; it sees the values around it."""

    def value(self, tensor: tf.Tensor, order: tuple[int, ...] | None = None) -> Value:
        return Value.of(tensor, self.store, order)

    def constant(self, array: Array) -> Value:
        return Value.constant(np.asarray(array), self.store)

    def weight(self, array: Array, name: str = "") -> tf.Tensor:
        """An array made from a weight (moved, folded) as a shared variable of the model."""
        return self.store.tensor(array, name)

    def dim(self, value: Value, axis: int) -> int | Dim:
        """The size of an axis (ONNX's numbering): an int if known, else a Dim under ONNX's own name for it."""
        size = value.shape[axis]
        if size is not None:
            return size
        known = value.dim_names[axis] if value.dim_names else None
        name = known or f"{value.name or id(value)}.{axis}"  # one without a name is within a handler; its Dim keeps it alive
        if name not in self.dims:
            storage_axis = axis if value.order is None else value.order.index(axis)
            self.dims[name] = Dim(name, lambda: tf.shape(value.stored, out_type=tf.int64)[storage_axis])
        return self.dims[name]

    def known_dims(self, value: Value, stated: tuple[str | None, ...] | None) -> tuple[str | None, ...] | None:
        """The names of a value's dims: those its handler knows, which ONNX's own (often fresh ones) then stand for too."""
        own = value.dim_names
        if own is None or stated is None or len(own) != len(stated):
            return own or stated
        for name, other in zip(own, stated, strict=True):
            if name and other and name in self.dims:
                self.dims.setdefault(other, self.dims[name])
        return tuple(name or other for name, other in zip(own, stated, strict=True))

    def sizes(self, value: Value) -> list[int | Dim]:
        """All sizes of a value in ONNX's axis order."""
        return [self.dim(value, axis) for axis in range(len(value.shape))]

    def reject(self, what: str, fix: str | None = None) -> ConversionError:
        """The error of a handler that cannot lower its node; raise what this returns."""
        return ConversionError(what, where=describe_node(self.node) if self.node else None, fix=fix)
