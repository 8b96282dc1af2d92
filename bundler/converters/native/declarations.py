"""Handlers that a module declares with `@op`, kept by module until a conversion asks for them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from bundler.converters.native.registry import AxisPolicy, Function, Handler, describe

_TORCH_NAME = re.compile(r"\w+::\w+(\.\w+)?")


_declared: dict[str, list[Handler]] = {}
"""Handlers by the module that declares them. Only what is asked for by `declared` takes part in a build."""


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
    default to None), its attributes are keyword-only with their defaults. It gets tensors and returns a tensor, or a
    tuple of them for several outputs. A first parameter named `ctx` gets the `Context`.

    Args:
        op_types: names of the operators.
        domain: their ONNX domain; empty: ONNX's own.
        layout: what the function asks of the order of axes. `LOGICAL`, ONNX's own order, is always right;
            `ELEMENTWISE` saves transposes where every element is computed on its own.
        since: the first opset of the model that the function is right for.
        static: parameters that must be known when the model is built; they arrive as NumPy arrays.
        torch: the PyTorch operator, `namespace::name` as in `torch.library.custom_op`, that an export writes as this
            one: its tensors become inputs, its other arguments attributes of the same names.
        override: take the place of a handler that tfbundle, a package or an earlier file has.

    Raises:
        ValueError: no operator is named, `static` names no parameter, or `torch` is not of the form namespace::name.
    """
    if not op_types or not all(isinstance(name, str) and name for name in op_types):
        raise ValueError('name the operator: @op("SoftShrink", domain="mylib")')
    if torch is not None and (not _TORCH_NAME.fullmatch(torch) or len(op_types) > 1):
        raise ValueError(f"torch={torch!r} names one PyTorch operator for one ONNX operator, like 'mylib::soft_shrink'")
    module = sys._getframe(1).f_globals.get("__name__", "")

    def declare(function: Function) -> Function:
        for op_type in op_types:
            handler = describe(function, op_type, domain, since, layout, frozenset(static))
            _declare(module, replace(handler, torch=torch, override=override))
        return function

    return declare


def _declare(module: str, handler: Handler) -> None:
    """Keep a handler; one of the same name is replaced, as happens when a cell of a notebook runs again."""
    there = _declared.setdefault(module, [])
    there[:] = [h for h in there if not _same(h, handler)] + [handler]


def _same(one: Handler, other: Handler) -> bool:
    keys = [(h.domain, h.op_type, h.since, getattr(h.function, "__qualname__", h.function)) for h in (one, other)]
    return keys[0] == keys[1]


def forget(module: str) -> None:
    """Drop what a module of this name has declared: it is about to run again."""
    _declared.pop(module, None)


def declared(module: ModuleType) -> list[Handler]:
    """The handlers that a module declares, or imports from another one: by name, or the module itself."""
    found = list(_declared.get(module.__name__, ()))
    functions = {id(handler.function): handler for handlers in _declared.values() for handler in handlers}
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType) and value is not module:
            found += _declared.get(value.__name__, ())
        elif id(value) in functions:
            found += [h for handlers in _declared.values() for h in handlers if h.function is value]
    return list({id(handler): handler for handler in found}.values())
