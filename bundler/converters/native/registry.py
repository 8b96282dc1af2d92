"""Which function lowers which ONNX operator.

    @op("LeakyRelu", layout=AxisPolicy.ELEMENTWISE)
    def leaky_relu(x, *, alpha=0.01):
        return tf.nn.leaky_relu(x, alpha)

The signature is the specification: inputs are positional (optional ones default to None), ONNX attributes are keyword
arguments with ONNX's defaults; an attribute that the function does not have is an error of the model. `static` names the
inputs that must be known at build time; they arrive as NumPy arrays.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias, TypeVar

from bundler.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


class AxisPolicy(enum.Enum):
    """What an op asks of the axis order of its operands."""

    ELEMENTWISE = "any order, the same for all operands"
    SPATIAL = "data input channels last, and so is the output"
    AXIS = "any order of its first input; `axis` and `axes` attributes are re-mapped"
    LOGICAL = "ONNX's own order"
    VALUES = "the handler takes Values and looks after orders itself"


@dataclass(frozen=True)
class Handler:
    """How one operator is lowered, from opset `since` on."""

    op_type: str
    domain: str
    since: int
    function: Callable[..., Any]
    layout: AxisPolicy
    static: frozenset[str]
    parameters: tuple[str, ...]
    attributes: frozenset[str]
    variadic: bool
    wants_context: bool
    axis_defaults: dict[str, Any]
    """Defaults of `axis` and `axes`, which AxisPolicy.AXIS re-maps like given ones."""
    torch: str | None = None
    """The PyTorch operator that the export writes as this one, `namespace::name`."""
    override: bool = False
    """Whether it may take the place of a handler that is there."""
    origin: str = ""
    """The user's file or the package it comes from; empty for our own."""

    @property
    def place(self) -> str:
        """`module:function`, or `file:function` for a user's own; of a function made in another one, that one."""
        name = str(getattr(self.function, "__qualname__", type(self.function).__name__)).partition(".<locals>")[0]
        return f"{self.origin or self.function.__module__}:{name}"


Key: TypeAlias = "tuple[str, str]"
"""Domain and operator."""

_handlers: dict[Key, list[Handler]] = {}


class HandlerTable:
    """The handlers that a conversion has: ours, and layers of others before them. Adding a layer makes a new table.

    Args:
        layers: handlers by domain and operator, ascending by opset; the last layer is asked first.
    """

    def __init__(self, layers: Sequence[Mapping[Key, list[Handler]]]) -> None:
        self._layers = tuple(layers)

    def find(self, op_type: str, domain: str, opset: int) -> Handler | None:
        """The handler for an operator in a model of this opset, or None."""
        for layer in reversed(self._layers):
            candidates = [h for h in layer.get((domain, op_type), ()) if h.since <= opset]
            if candidates:
                return candidates[-1]
        return None

    def registered(self) -> list[Handler]:
        """All handlers, by domain and name; of several for one operator, that of the last layer first."""
        keys = sorted({key for layer in self._layers for key in layer})
        return [h for key in keys for layer in reversed(self._layers) for h in layer.get(key, ())]

    def translations(self) -> dict[str, Key]:
        """PyTorch operator -> the domain and operator that the export writes for it."""
        every = [h for layer in self._layers for versions in layer.values() for h in versions]
        return {h.torch: (h.domain, h.op_type) for h in every if h.torch}

    def with_layer(self, handlers: Iterable[Handler]) -> HandlerTable:
        """A table that asks these handlers first.

        Raises:
            UsageError: an operator has a handler already, and the new one does not say `override=True`.
        """
        layer: dict[Key, list[Handler]] = {}
        for handler in handlers:
            key = handler.domain, handler.op_type
            there = [h for below in self._layers for h in below.get(key, ())]
            if there and not handler.override:
                raise _conflict(handler, there[-1], "say override=True in its @op if it is to take the other's place")
            same = [h for h in layer.get(key, ()) if h.since == handler.since]
            if same:
                raise _conflict(handler, same[0], "take one of them away, or give it another opset with since=")
            layer[key] = sorted([*layer.get(key, ()), handler], key=lambda h: h.since)
        return HandlerTable((*self._layers, layer))


def _conflict(new: Handler, there: Handler, fix: str) -> UsageError:
    return UsageError(
        f"{new.place} handles {new.domain or 'ai.onnx'}::{new.op_type}, which {there.place} handles already.",
        where=f"{defined_at(new)}; {defined_at(there)}", fix=fix,
    )  # fmt: skip


def defined_at(handler: Handler) -> str:
    """`file:line` of a handler's function, as far as it is written in Python."""
    code = getattr(inspect.unwrap(handler.function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else handler.place


def builtin() -> HandlerTable:
    """Our own handlers."""
    load_builtin()
    return HandlerTable((_handlers,))


def op(
    *op_types: str, layout: AxisPolicy = AxisPolicy.LOGICAL, since: int = 1, domain: str = "", static: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """Register a function as the handler of these operators.

    Args:
        since: the first opset the function is right for; with several, the newest one not above the model's opset is used.
        static: parameters that must be constants.

    Raises:
        ValueError: the operator has a handler of this opset already, or `static` names no parameter.
    """

    def register(function: Function) -> Function:
        for op_type in op_types:
            _add(describe(function, op_type, domain, since, layout, frozenset(static)))
        return function

    return register


def describe(
    function: Callable[..., Any], op_type: str, domain: str, since: int, layout: AxisPolicy, static: frozenset[str]
) -> Handler:
    """Read a handler's inputs and attributes from its function's signature.

    Raises:
        ValueError: `static` names no parameter.
    """
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wants_context = bool(positional) and positional[0] == "ctx"
    if wants_context:
        positional = positional[1:]
    if static - set(positional):
        raise ValueError(
            f"{op_type}: static names {sorted(static - set(positional))}, which are no inputs of {function}"
        )
    return Handler(
        op_type, domain, since, function, layout, static, tuple(positional),
        frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY),
        any(p.kind is p.VAR_POSITIONAL for p in parameters), wants_context,
        {p.name: p.default for p in parameters if p.name in ("axis", "axes") and p.default not in (p.empty, None)},
    )  # fmt: skip


def _add(handler: Handler) -> None:
    versions = _handlers.setdefault((handler.domain, handler.op_type), [])
    if any(h.since == handler.since for h in versions):
        raise ValueError(f"{handler.op_type} has a handler since opset {handler.since} already")
    versions.append(handler)
    versions.sort(key=lambda h: h.since)


def find(op_type: str, domain: str, opset: int) -> Handler | None:
    """Our handler for an operator in a model of this opset, or None."""
    return builtin().find(op_type, domain, opset)


def registered() -> list[Handler]:
    """All of our handlers, by domain and name."""
    return builtin().registered()


OP_MODULES = (
    "elementwise", "conv", "conv_transpose", "pool", "image", "shape", "index", "reduce", "matmul", "normalize",
    "recurrent", "control", "attention", "loss", "sequence", "quantize", "fake_quantize",
    "bits", "random", "signal", "sampling", "detection", "unpool", "text", "search", "decode",
    "ml", "ml_linear", "ml_svm", "ml_trees",
    "contrib", "contrib_matmul", "contrib_normalize", "contrib_attention", "contrib_quantize",
)  # fmt: skip


@cache
def load_builtin() -> None:
    """Import the op families, which registers their handlers."""
    for module in OP_MODULES:
        import_module(f"bundler.converters.native.ops.{module}")
