"""Lowers ONNX's own operators for the handlers of operators that consist of them."""

from __future__ import annotations

from typing import Any

from bundler.converters.native.context import Context
from bundler.converters.native.dims import Dim
from bundler.converters.native.invoke import apply
from bundler.converters.native.registry import find
from bundler.converters.native.value import Value

MS = "com.microsoft"
"""The domain of ONNX Runtime's operators.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md"""

_NEWEST = 1 << 30
"""Newer than every opset: the newest handler is called, whatever the model's opset."""


def without_none(**attributes: Any) -> dict[str, Any]:
    """Return the attributes that are not None."""
    return {name: value for name, value in attributes.items() if value is not None}


def lower_all(
    ctx: Context, op_type: str, *operands: Value | None, domain: str = "", **attributes: Any
) -> list[Value | None]:
    """Lower an operator for these values and return all its results."""
    handler = find(op_type, domain, _NEWEST)
    assert handler is not None, f"{op_type} has a handler"
    return apply(handler, list(operands), attributes, ctx)


def lower(ctx: Context, op_type: str, *operands: Value | None, domain: str = "", **attributes: Any) -> Value:
    """Lower an operator for these values and return its first result."""
    result = lower_all(ctx, op_type, *operands, domain=domain, **attributes)[0]
    assert result is not None
    return result


def sized_like(ctx: Context, result: Value, x: Value) -> Value:
    """Give `result` the names of x's dynamic sizes: ONNX infers no shapes for operators of other domains."""
    if x.rank is not None and x.rank == result.rank:
        result.dim_names = tuple(size.name if isinstance(size, Dim) else None for size in ctx.sizes(x))
    return result
