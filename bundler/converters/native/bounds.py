"""Limits on what a node may request: windows that TensorFlow's kernels can handle, and constants that fit into memory.

A file of a few bytes can request 2^40 zeros, and a stride of 0 ends the process in TensorFlow's C++ (SIGFPE).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array

LARGEST_FOLD = 1 << 26
"""Elements of the largest tensor that may be computed at build time."""

_SHAPES = 1024
"""Largest operand, in elements, whose values may decide the size of the result."""

_POSITIVE = frozenset({"strides", "dilations", "kernel_shape", "group", "blocksize", "hidden_size", "num_outputs"})
_INT32 = 2**31
_LARGEST_KERNEL = 2**20
"""Some handlers enumerate the positions of a window at build time."""

BOUNDED = frozenset(
    {
        "Abs", "ArgMax", "ArgMin", "Cast", "Ceil", "Concat", "Cos", "Erf", "Exp", "Flatten", "Floor", "Identity", "Log", "Neg",
        "Not", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round",
        "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators whose results together are not larger than their operands together."""


def window_problem(attributes: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the attributes that describe windows and groups, or None.

    ONNX requires positive numbers (see the operator pages of Conv and MaxPool); TensorFlow holds them as int32.
    """
    for name in _POSITIVE & attributes.keys():
        numbers = attributes[name] if isinstance(attributes[name], list) else [attributes[name]]
        limit = _LARGEST_KERNEL if name == "kernel_shape" else _INT32
        if any(not isinstance(n, int) or not 0 < n < limit for n in numbers):
            return f"its attribute {name} must be above 0 and below {limit}, got {attributes[name]}"
    pads = attributes.get("pads")
    if isinstance(pads, list) and any(not isinstance(n, int) or abs(n) >= _INT32 for n in pads):
        return f"the numbers of its attribute pads must be below 2^31, got {pads}"
    return None


def is_empty(values: Sequence[Value | None]) -> bool:
    """Whether one of the values is known to have no elements."""
    return any(v is not None and v.rank is not None and 0 in v.shape for v in values)


def fits(
    lower: Callable[[list[Value | None]], Any], operands: Sequence[Value | None], *, windows: bool = False
) -> bool:
    """Whether no tensor on the way to a constant is larger than LARGEST_FOLD, found without computing any.

    Args:
        lower: lowers the node for these operands in the current default graph.
        operands: constants.
        windows: whether the operator slides a window. Then no tensor may be empty either, and TensorFlow must accept the
            graph: its eager kernels check less, and divide by the size of their result (SIGFPE).
    """
    store = WeightStore(constants_only=True)
    with tf.Graph().as_default() as graph:
        placeholders = [None if v is None or v.array is None else _placeholder(v.array, store) for v in operands]
        try:
            lower(placeholders)
        except Exception:  # noqa: BLE001 (the error is reported where the node is lowered)
            if windows:
                return False
        sizes = [t.shape.num_elements() for op in graph.get_operations() for t in op.outputs]
    return max((n or 0 for n in sizes), default=0) <= LARGEST_FOLD and not (windows and 0 in sizes)


def _placeholder(array: Array, store: WeightStore) -> Value:
    """A small array with its values, a large one without them."""
    if array.size <= _SHAPES or array.dtype.kind in "OUS":
        return Value.constant(array, store)
    return Value.of(tf.compat.v1.placeholder(tf.as_dtype(array.dtype), array.shape), store)
