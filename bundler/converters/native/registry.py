"""Which function lowers which ONNX operator.

    @op("LeakyRelu", layout=Layout.ELEMENTWISE)
    def leaky_relu(x, *, alpha=0.01):
        return tf.nn.leaky_relu(x, alpha)

The signature is the specification: inputs are positional (optional ones default to None), ONNX attributes are keyword
arguments with ONNX's defaults; an attribute that the function does not have is an error of the model. `static` names the
inputs that must be known at build time; they arrive as NumPy arrays.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class Layout(enum.Enum):
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
    layout: Layout
    static: frozenset[str]
    parameters: tuple[str, ...]
    attributes: frozenset[str]
    variadic: bool
    wants_context: bool
    axis_defaults: dict[str, Any]
    """Defaults of `axis` and `axes`, which Layout.AXIS re-maps like given ones."""


_handlers: dict[tuple[str, str], list[Handler]] = {}


def op(
    *op_types: str, layout: Layout = Layout.LOGICAL, since: int = 1, domain: str = "", static: tuple[str, ...] = ()
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
            _add(_describe(function, op_type, domain, since, layout, frozenset(static)))
        return function

    return register


def _describe(
    function: Callable[..., Any], op_type: str, domain: str, since: int, layout: Layout, static: frozenset[str]
) -> Handler:
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
    """The handler for an operator in a model of this opset, or None."""
    load_builtin()
    candidates = [h for h in _handlers.get((domain, op_type), ()) if h.since <= opset]
    return candidates[-1] if candidates else None


def registered() -> list[Handler]:
    """All handlers, by domain and name."""
    load_builtin()
    return [h for key in sorted(_handlers) for h in _handlers[key]]


OP_MODULES = (
    "elementwise", "conv", "conv_transpose", "pool", "image", "shape", "index", "reduce", "matmul", "normalize",
    "recurrent", "control", "attention", "loss", "sequence", "quantize",
    "bits", "random", "signal", "sampling", "detection", "unpool", "text", "search", "decode",
    "ml", "ml_linear", "ml_svm", "ml_trees",
    "contrib", "contrib_matmul", "contrib_normalize", "contrib_attention", "contrib_quantize",
)  # fmt: skip


def load_builtin() -> None:
    """Import the op families, which registers their handlers."""
    for module in OP_MODULES:
        import_module(f"bundler.converters.native.ops.{module}")
