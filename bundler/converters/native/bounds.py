"""Sizes that a node may ask for: windows that TensorFlow's kernels can divide by, and constants that fit into memory.

A file of a few bytes can ask for 2^40 zeros, and a stride of 0 ends the process in TensorFlow's C++ (SIGFPE).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore

LARGEST_FOLD = 1 << 26
"""Elements of the largest tensor that may be computed at build time."""

_SHAPES = 1024
"""Elements up to which an operand's values may decide the result's size."""

_POSITIVE = frozenset({"strides", "dilations", "kernel_shape", "group", "blocksize", "hidden_size", "num_outputs"})
_INT32 = 2**31
_KERNEL = 2**20
"""Some handlers number the places of a window at build time."""

BOUNDED = frozenset(
    {
        "Abs", "ArgMax", "ArgMin", "Cast", "Ceil", "Concat", "Cos", "Erf", "Exp", "Flatten", "Floor", "Identity", "Log", "Neg",
        "Not", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round",
        "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators whose results together are no larger than their operands together."""


def wrong_window(attributes: Mapping[str, Any]) -> str | None:
    """What is wrong with the attributes that describe windows and groups, or None.

    ONNX asks for numbers above 0 (operators Conv, MaxPool and their kin); TensorFlow holds them as int32.
    """
    for name in _POSITIVE & attributes.keys():
        numbers = attributes[name] if isinstance(attributes[name], list) else [attributes[name]]
        limit = _KERNEL if name == "kernel_shape" else _INT32
        if any(not isinstance(n, int) or not 0 < n < limit for n in numbers):
            return f"its attribute {name} is {attributes[name]}, which has to be above 0 and below {limit}"
    pads = attributes.get("pads")
    if isinstance(pads, list) and any(not isinstance(n, int) or abs(n) >= _INT32 for n in pads):
        return f"its attribute pads is {pads}, whose numbers have to be below 2^31"
    return None


def is_empty(values: Sequence[Value | None]) -> bool:
    """Whether one of them is known to have no elements."""
    return any(v is not None and v.rank is not None and 0 in v.shape for v in values)


def fits(
    lower: Callable[[list[Value | None]], Any], operands: Sequence[Value | None], *, windows: bool = False
) -> bool:
    """Whether no tensor on the way to a constant is larger than LARGEST_FOLD, found without computing any.

    With `windows` none may be empty either, and the graph must be one that TensorFlow accepts: its eager kernels check
    less, and divide by the size of their result (SIGFPE).

    Args:
        lower: the handler on these operands, in the graph that is the default one when it is called.
        operands: constants.
    """
    store = WeightStore(constants_only=True)
    with tf.Graph().as_default() as graph:
        stand_ins = [None if v is None or v.array is None else _placeholder(v.array, store) for v in operands]
        try:
            lower(stand_ins)
        except Exception:  # noqa: BLE001 (what is wrong is said where the node is lowered)
            if windows:
                return False
        sizes = [t.shape.num_elements() for op in graph.get_operations() for t in op.outputs]
    return max((n or 0 for n in sizes), default=0) <= LARGEST_FOLD and not (windows and 0 in sizes)


def _placeholder(array: np.ndarray[Any, Any], store: WeightStore) -> Value:
    """Large arrays without their values."""
    if array.size <= _SHAPES or array.dtype.kind in "OUS":
        return Value.constant(array, store)
    return Value.of(tf.compat.v1.placeholder(tf.as_dtype(array.dtype), array.shape), store)
