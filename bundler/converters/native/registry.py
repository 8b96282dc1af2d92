"""The table of handlers: which function lowers which ONNX operator.

    @op("LeakyRelu", layout=AxisPolicy.ELEMENTWISE)
    def leaky_relu(x, *, alpha=0.01):
        return tf.nn.leaky_relu(x, alpha)

The signature is the specification: inputs are positional (optional ones default to None), ONNX attributes are keyword
arguments with ONNX's defaults. If a node has an attribute that the function does not, the model is rejected. `static` names
the inputs that must be known at build time; they arrive as NumPy arrays.
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
    """The axis order in which a handler takes its operands."""

    ELEMENTWISE = "any order, the same for all operands"
    SPATIAL = "the data input channels last, and so is the output"
    AXIS = "any order, the same for all operands; the attributes `axis` and `axes` are re-mapped"
    LOGICAL = "ONNX's own order"
    VALUES = "the handler takes Values and chooses the orders itself"


@dataclass(frozen=True)
class Handler:
    """How an operator is lowered in models of opset `since` and newer.

    Attributes:
        op_type: the operator.
        domain: its ONNX domain; empty for ONNX's own.
        since: the first opset that the function is right for.
        function: lowers a node.
        layout: the axis order in which the function takes its operands.
        static: parameters that must be known at build time.
        parameters: the positional parameters: the operator's inputs.
        attributes: the keyword parameters: the operator's attributes.
        variadic: whether the function takes any number of inputs.
        wants_context: whether its first parameter is the Context.
        axis_defaults: defaults of `axis` and `axes`, which AxisPolicy.AXIS re-maps like given values.
        torch: the PyTorch operator, `namespace::name`, that the export writes as this operator.
        override: whether the handler may replace an earlier one.
        origin: the user's file or the package that it comes from; empty for built-in handlers.
    """

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
    torch: str | None = None
    override: bool = False
    origin: str = ""

    @property
    def place(self) -> str:
        """`module:function`, or `file:function` for a user's handler; a nested function counts as the one around it."""
        name = str(getattr(self.function, "__qualname__", type(self.function).__name__)).partition(".<locals>")[0]
        return f"{self.origin or self.function.__module__}:{name}"


Key: TypeAlias = "tuple[str, str]"
"""Domain and operator."""

_handlers: dict[Key, list[Handler]] = {}


class HandlerTable:
    """The handlers of a conversion: the built-in ones, and layers that take precedence over them.

    A table does not change; adding a layer makes a new one.

    Args:
        layers: handlers by domain and operator, ascending by opset; the last layer takes precedence.
    """

    def __init__(self, layers: Sequence[Mapping[Key, list[Handler]]]) -> None:
        self._layers = tuple(layers)

    def find(self, op_type: str, domain: str, opset: int) -> Handler | None:
        """Return the handler for an operator in a model of this opset, or None."""
        for layer in reversed(self._layers):
            candidates = [h for h in layer.get((domain, op_type), ()) if h.since <= opset]
            if candidates:
                return candidates[-1]
        return None

    def registered(self) -> list[Handler]:
        """Return all handlers, by domain and name; of several for one operator, that of the last layer first."""
        keys = sorted({key for layer in self._layers for key in layer})
        return [h for key in keys for layer in reversed(self._layers) for h in layer.get(key, ())]

    def translations(self) -> dict[str, Key]:
        """Map each PyTorch operator to the domain and operator that the export writes for it."""
        handlers = [h for layer in self._layers for versions in layer.values() for h in versions]
        return {h.torch: (h.domain, h.op_type) for h in handlers if h.torch}

    def with_layer(self, handlers: Iterable[Handler]) -> HandlerTable:
        """Return a table in which these handlers take precedence.

        Raises:
            UsageError: an operator already has a handler, and the new one is not declared with `override=True`.
        """
        layer: dict[Key, list[Handler]] = {}
        for handler in handlers:
            key = handler.domain, handler.op_type
            existing = [h for below in self._layers for h in below.get(key, ())]
            if existing and not handler.override:
                raise _conflict(handler, existing[-1], "add override=True to its @op to replace the other handler")
            same = [h for h in layer.get(key, ()) if h.since == handler.since]
            if same:
                raise _conflict(handler, same[0], "remove one of them, or give it another opset with since=")
            layer[key] = sorted([*layer.get(key, ()), handler], key=lambda h: h.since)
        return HandlerTable((*self._layers, layer))


def _conflict(new: Handler, existing: Handler, fix: str) -> UsageError:
    return UsageError(
        f"{new.place} handles {new.domain or 'ai.onnx'}::{new.op_type}, which {existing.place} already handles.",
        where=f"{defined_at(new)}; {defined_at(existing)}", fix=fix,
        code="TFB3101",
    )  # fmt: skip


def defined_at(handler: Handler) -> str:
    """Return `file:line` of a handler's function; its `place` if it is not written in Python."""
    code = getattr(inspect.unwrap(handler.function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else handler.place


def builtin() -> HandlerTable:
    """Return the table of the built-in handlers."""
    load_builtin()
    return HandlerTable((_handlers,))


def op(
    *op_types: str, layout: AxisPolicy = AxisPolicy.LOGICAL, since: int = 1, domain: str = "", static: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """Register a function as the built-in handler of these operators.

    Args:
        *op_types: names of the operators.
        layout: the axis order in which the function takes its operands.
        since: the first opset the function is right for; of several handlers, the newest not above the model's opset is used.
        domain: the operators' ONNX domain; empty for ONNX's own.
        static: parameters that must be constants.

    Raises:
        ValueError: the operator already has a handler for this opset, or `static` names something that is not an input.
    """

    def register(function: Function) -> Function:
        for op_type in op_types:
            _add(describe(function, op_type, domain, since, layout, frozenset(static)))
        return function

    return register


def describe(
    function: Callable[..., Any], op_type: str, domain: str, since: int, layout: AxisPolicy, static: frozenset[str]
) -> Handler:
    """Make a handler; its inputs and attributes are read from the function's signature.

    Raises:
        ValueError: `static` names something that is not an input.
    """
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wants_context = bool(positional) and positional[0] == "ctx"
    if wants_context:
        positional = positional[1:]
    if static - set(positional):
        raise ValueError(
            f"{op_type}: static names {sorted(static - set(positional))}, which are not inputs of {function}"
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
        raise ValueError(f"{handler.op_type} already has a handler since opset {handler.since}")
    versions.append(handler)
    versions.sort(key=lambda h: h.since)


def find(op_type: str, domain: str, opset: int) -> Handler | None:
    """Return the built-in handler for an operator in a model of this opset, or None."""
    return builtin().find(op_type, domain, opset)


def registered() -> list[Handler]:
    """Return all built-in handlers, by domain and name."""
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
    """Import the modules of handlers, which registers them."""
    for module in OP_MODULES:
        import_module(f"bundler.converters.native.ops.{module}")
