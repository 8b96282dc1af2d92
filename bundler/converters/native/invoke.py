"""Calls a handler: operands in the order it declares, static inputs as arrays, and its results as Values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native import bounds, layouts
from bundler.converters.native.context import Context
from bundler.converters.native.nodes import attributes_of, is_read
from bundler.converters.native.registry import AxisPolicy, Handler
from bundler.converters.native.value import Value
from bundler.values.arrays import Array
from serving.texts import plural


def call(handler: Handler, node: ir.Node, operands: list[Value | None], context: Context) -> list[Value | None]:
    """Lower a node with its handler.

    Raises:
        ConversionError: the handler cannot lower this node.
        ValueError: the node has too many inputs, or the handler leaves out an output that the model uses.
    """
    results = apply(handler, operands, attributes_of(node), context)
    _check_outputs(handler, node, results, context)
    return results


def apply(
    handler: Handler, operands: list[Value | None], attributes: dict[str, Any], context: Context
) -> list[Value | None]:
    """Call a handler without a node of its own, as the handler of an operator that is made of others does."""
    _check_attributes(handler, attributes, context)
    operands = _without_trailing_none(operands, handler)
    static = _static_arrays(handler, operands, context)
    leading: tuple[Any, ...] = (context,) if handler.wants_context else ()
    arguments: Sequence[Any] = [static.get(i, v) for i, v in enumerate(operands)]
    if handler.layout is AxisPolicy.VALUES:
        result = handler.function(*leading, *arguments, **attributes)
        return _as_values(result, layouts.LaidOutOperands([], {}, None), context)
    attributes = {**handler.axis_defaults, **attributes}
    laid_out = layouts.lay_out(handler.layout, operands, static.keys(), attributes, context.target)
    arguments = [static.get(i, t) for i, t in enumerate(laid_out.tensors)]
    return _as_values(handler.function(*leading, *arguments, **laid_out.attributes), laid_out, context)


def _check_attributes(handler: Handler, attributes: dict[str, Any], context: Context) -> None:
    unknown = attributes.keys() - handler.attributes
    if unknown:
        reason = f"its handler {handler.place} does not take" if handler.origin else "ONNX does not define for it"
        raise context.reject(f"{handler.op_type} has the attribute {sorted(unknown)[0]!r}, which {reason}.")
    problem = None if handler.origin else bounds.window_problem(attributes)
    if problem is not None:
        raise context.reject(f"{handler.op_type} cannot be lowered: {problem}.", fix="export the model again")


def _without_trailing_none(operands: list[Value | None], handler: Handler) -> list[Value | None]:
    """Drop optional inputs that are left out at the end; the parameters' defaults stand for them."""
    while operands and operands[-1] is None:
        operands = operands[:-1]
    if not handler.variadic and len(operands) > len(handler.parameters):
        raise ValueError(f"{handler.op_type} has {len(operands)} inputs; it takes at most {len(handler.parameters)}")
    return operands


def _static_arrays(handler: Handler, operands: Sequence[Value | None], context: Context) -> dict[int, Array]:
    arrays = {}
    for index, name in enumerate(handler.parameters[: len(operands)]):
        operand = operands[index]
        if name not in handler.static or operand is None:
            continue
        if operand.array is None:
            raise context.reject(
                f"{handler.op_type} needs its input {name!r} to be a constant, but it is computed at run time.",
                fix="export the model so that this value does not depend on the inputs",
            )
        arrays[index] = operand.array
    return arrays


def _check_outputs(handler: Handler, node: ir.Node, results: Sequence[Value | None], context: Context) -> None:
    """Check that a handler returns every output that the model uses.

    Raises:
        ConversionError: a built-in handler does not compute an output.
        ValueError: an output of a user's handler is missing.
    """
    used = [i for i, output in enumerate(node.outputs) if is_read(output)]
    missing = [i for i in used if i >= len(results) or results[i] is None]
    if handler.origin and missing:
        count = len(results)
        raise ValueError(f"it returned {plural(count, 'output')}, and nothing for output {missing[0]}")
    if missing:
        raise context.reject(
            f"{node.op_type} is supported without its output {missing[0]}, which tfbundle does not compute.",
            fix=f"export the model so that nothing reads {node.outputs[missing[0]].name!r}",
        )


def _as_values(result: Any, laid_out: layouts.LaidOutOperands, context: Context) -> list[Value | None]:
    """Wrap what a handler returned; tensors are stored in the order of its operands."""
    items = list(result) if isinstance(result, (tuple, list)) else [result]
    return [
        item if item is None or isinstance(item, Value) else laid_out.value(tf.convert_to_tensor(item), context.store)
        for item in items
    ]
