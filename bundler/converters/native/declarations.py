"""Handlers that modules declare with `@op`, kept by module until a conversion needs them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from bundler.converters.native.registry import AxisPolicy, Function, Handler, describe

_TORCH_NAME = re.compile(r"\w+::\w+(\.\w+)?")

_declared: dict[str, list[Handler]] = {}
"""Handlers by the module that declares them. Only those that `declared` returns take part in a build."""


def op(
    *op_types: str,
    domain: str = "",
    layout: AxisPolicy = AxisPolicy.LOGICAL,
    since: int = 1,
    static: tuple[str, ...] = (),
    torch: str | None = None,
    override: bool = False,
) -> Callable[[Function], Function]:
    """Declare a function as the handler of these ONNX operators.

    The function's signature is the specification: the operator's inputs are positional parameters (optional ones
    default to None), its attributes are keyword-only with their defaults. It receives tensors and returns a tensor, or
    a tuple of tensors for several outputs. A first parameter named `ctx` receives the `Context`.

    Args:
        *op_types: names of the operators.
        domain: their ONNX domain; empty for ONNX's own.
        layout: the axis order in which the function takes its operands. `LOGICAL`, ONNX's own order, is always right;
            `ELEMENTWISE` saves transposes where every element is computed on its own.
        since: the first opset of the model that the function is right for.
        static: parameters that must be known when the model is built; they arrive as NumPy arrays.
        torch: the PyTorch operator, `namespace::name` as in `torch.library.custom_op`, that an export writes as this
            operator: its tensors become inputs, its other arguments attributes of the same names.
        override: replace a handler that tfbundle, a package or an earlier file has for the operator.

    Raises:
        ValueError: no operator is named, `static` names something that is not an input, or `torch` is not of the form
            namespace::name.
    """
    if not op_types or not all(isinstance(name, str) and name for name in op_types):
        raise ValueError('name the operator: @op("SoftShrink", domain="mylib")')
    if torch is not None and (not _TORCH_NAME.fullmatch(torch) or len(op_types) > 1):
        raise ValueError(f"torch={torch!r} must name one PyTorch operator for one ONNX operator, like 'mylib::soft_shrink'")
    module = sys._getframe(1).f_globals.get("__name__", "")

    def declare(function: Function) -> Function:
        for op_type in op_types:
            handler = describe(function, op_type, domain, since, layout, frozenset(static))
            _declare(module, replace(handler, torch=torch, override=override))
        return function

    return declare


def _declare(module: str, handler: Handler) -> None:
    """Add a handler; it replaces one of the same name, as when a cell of a notebook runs again."""
    handlers = _declared.setdefault(module, [])
    handlers[:] = [h for h in handlers if _identity(h) != _identity(handler)] + [handler]


def _identity(handler: Handler) -> tuple[object, ...]:
    function = handler.function
    return handler.domain, handler.op_type, handler.since, getattr(function, "__qualname__", function)


def forget(module: str) -> None:
    """Drop the handlers that a module of this name has declared, because it is about to run again."""
    _declared.pop(module, None)


def declared(module: ModuleType) -> list[Handler]:
    """Return the handlers that a module declares or imports from other modules, by name or with the module."""
    handlers = list(_declared.get(module.__name__, ()))
    functions = {id(h.function): h for declared in _declared.values() for h in declared}
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType) and value is not module:
            handlers += _declared.get(value.__name__, ())
        elif id(value) in functions:
            handlers += [h for declared in _declared.values() for h in declared if h.function is value]
    return list({id(handler): handler for handler in handlers}.values())
