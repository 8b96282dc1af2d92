"""ONNX's own operators, for the handlers of others that are made of them."""

from __future__ import annotations

from typing import Any

from bundler.converters.native.context import Context
from bundler.converters.native.lowering import apply
from bundler.converters.native.registry import find
from bundler.converters.native.value import Dim, Value

MS = "com.microsoft"
"""The domain of ONNX Runtime's operators.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md"""

_NEWEST = 1 << 30
"""A delegate is taken from the newest opset, whatever the model's."""


def lower_all(
    ctx: Context, op_type: str, *operands: Value | None, domain: str = "", **attributes: Any
) -> list[Value | None]:
    """All results of an operator over these values."""
    handler = find(op_type, domain, _NEWEST)
    assert handler is not None, f"{op_type} has a handler"
    return apply(handler, list(operands), attributes, ctx)


def lower(ctx: Context, op_type: str, *operands: Value | None, domain: str = "", **attributes: Any) -> Value:
    """The first result."""
    result = lower_all(ctx, op_type, *operands, domain=domain, **attributes)[0]
    assert result is not None
    return result


def sized_like(ctx: Context, result: Value, x: Value) -> Value:
    """`result`, said to be as long as x on each dynamic axis: ONNX infers no shapes for operators that are not its own."""
    if x.rank is not None and x.rank == result.rank:
        result.dim_names = tuple(size.name if isinstance(size, Dim) else None for size in ctx.sizes(x))
    return result
