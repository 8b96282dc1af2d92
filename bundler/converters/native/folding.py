"""Computes nodes whose inputs are all constants, at build time."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native import bounds
from bundler.converters.native.context import Context
from bundler.converters.native.invoke import call
from bundler.converters.native.nodes import has_graph, name_of
from bundler.converters.native.registry import Handler
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.values.arrays import Array

_FOLD_LIMIT = 1 << 20
"""Largest constant, in elements, that folding may create beyond the size of its inputs."""

_NOT_FOLDED = frozenset(
    {
        "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial",
        "SequenceEmpty", "SequenceConstruct", "SplitToSequence", "Optional",
    }
)  # fmt: skip
"""Operators whose results differ from run to run, or are not tensors."""


def can_fold(handler: Handler, node: ir.Node, operands: list[Value | None], context: Context) -> bool:
    """Whether a node may be computed at build time: all inputs are constants, and nothing on the way is too large.

    A user's handler without inputs is called at run time: it may read something outside of the graph.
    """
    return _is_foldable(node, operands) and not (handler.origin and not operands) and _fits(handler, node, operands, context)


def _is_foldable(node: ir.Node, operands: Sequence[Value | None]) -> bool:
    if node.op_type in _NOT_FOLDED or has_graph(node) or any(v is not None and not v.is_constant for v in operands):
        return False
    largest = max((v.array.size for v in operands if v is not None and v.array is not None), default=0)
    size = 1
    for dim in node.outputs[0].shape or ():
        size *= dim if isinstance(dim, int) else 1
    return size <= max(_FOLD_LIMIT, largest)


def _fits(handler: Handler, node: ir.Node, operands: list[Value | None], context: Context) -> bool:
    if node.op_type in bounds.BOUNDED or handler.origin:
        return True
    windows = "kernel_shape" in node.attributes
    if windows and bounds.is_empty(operands):
        return False
    inner = _detached(context, node)
    return bounds.fits(lambda constants: call(handler, node, constants, inner), operands, windows=windows)


def fold(handler: Handler, node: ir.Node, operands: list[Value | None], context: Context) -> list[Value | None]:
    """Compute a node eagerly on the CPU and return its results as constants."""
    inner = _detached(context, node)
    with tf.init_scope(), tf.device("CPU:0"):
        constants = [None if v is None else Value.constant(_array(v), inner.store, v.name) for v in operands]
        results = call(handler, node, constants, inner)
        return [
            None if r is None else _as_constant(r, context.store, name_of(o))
            for r, o in zip(results, node.outputs, strict=False)
        ]


def _detached(context: Context, node: ir.Node) -> Context:
    """A context whose weights are thrown away afterwards."""
    return Context(WeightStore(constants_only=True), context.opset, context.target, node=node)


def _as_constant(result: Value, store: WeightStore, name: str) -> Value:
    value = Value.constant(result.tensor.numpy() if result.array is None else result.array, store, name)
    value.quant_params = result.quant_params
    return value


def _array(value: Value) -> Array:
    assert value.array is not None
    return value.array
