"""Shape arithmetic at build time: integer vectors in which some sizes are dynamic.

Exporters write `Shape -> Gather -> Mul -> Concat -> Reshape` around every view. With the batch dynamic these are no
constants, but all else in them is; folding them over `int | Dim` leaves a Reshape with one -1 instead of a dozen ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.value import Dim, Element, Value, tensor_of
from bundler.converters.native.value import tensor_shape as tensor_shape

if TYPE_CHECKING:
    from bundler.converters.native.context import Context

_INT64 = 7  # onnx.TensorProto.INT64
_LIMIT = np.iinfo(np.int64).max // 2
"""Slice bounds beyond this mean "to the end" (ONNX writes INT64_MAX)."""


def fold(op_type: str, operands: Sequence[Value | None], attributes: dict[str, Any], ctx: Context) -> Value | None:
    """The result of a node over shape vectors, or None where this node is ordinary computation."""
    rule = _RULES.get(op_type)
    present = [v for v in operands if v is not None]
    if rule is None or len(present) != len(operands) or not any(v.is_symbolic for v in present):
        return None
    if any(v.elements is None and not _is_bool(v) for v in present):
        return None
    result = rule(present, attributes)
    if isinstance(result, np.ndarray):
        return ctx.constant(result)
    return None if result is None else Value.vector(result, ctx.store)


def _is_bool(value: Value) -> bool:
    return value.array is not None and value.array.dtype == np.bool_


def product(elements: Sequence[Element]) -> Element:
    """The product of sizes."""
    result: Element = 1
    for element in elements:
        result = multiply(result, element)
    return result


def multiply(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if a == 0 or b == 0:
        return 0
    if a == 1:
        return b
    if b == 1:
        return a
    return _combine("*", a, b, tf.multiply)


def add(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if a == 0:
        return b
    if b == 0:
        return a
    return _combine("+", a, b, tf.add)


def subtract(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    if a == b:
        return 0
    return a if b == 0 else _combine("-", a, b, tf.subtract)


def divide(a: Element, b: Element) -> Element:
    """Integer division as ONNX defines it: towards zero."""
    if isinstance(a, int) and isinstance(b, int):
        return int(a / b) if abs(a) < 2**52 else (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
    if a == b:
        return 1
    return a if b == 1 else _combine("/", a, b, tf.truncatediv)


def _combine(sign: str, a: Element, b: Element, compute: Callable[[Any, Any], tf.Tensor]) -> Dim:
    return Dim(f"({_text(a)}{sign}{_text(b)})", lambda: compute(tensor_of(a), tensor_of(b)))


def _text(element: Element) -> str:
    return element.name if isinstance(element, Dim) else str(element)


def full_shape(elements: Sequence[Element]) -> Any:
    """Sizes in the form tf.fill or tf.broadcast_to want: no -1."""
    if all(isinstance(e, int) for e in elements):
        return list(elements)
    return tf.stack([tensor_of(e) for e in elements])


# -- one rule an operator: Values with elements in, elements out ---------------------------------------------------


def _elements(value: Value) -> tuple[Element, ...]:
    elements = value.elements
    assert elements is not None
    return elements


def _shaped(like: Sequence[Value], items: Sequence[Element]) -> Sequence[Element] | Element:
    """Scalars in, scalar out."""
    return items[0] if all(v.rank == 0 for v in like) else items


def _elementwise(
    compute: Callable[[Element, Element], Element],
) -> Callable[[list[Value], dict[str, Any]], Sequence[Element] | Element | None]:
    def rule(operands: list[Value], _: dict[str, Any]) -> Sequence[Element] | Element | None:
        a, b = _elements(operands[0]), _elements(operands[1])
        if len(a) != len(b):
            if 1 not in (len(a), len(b)):
                return None
            a, b = (a * len(b), b) if len(a) == 1 else (a, b * len(a))
        return _shaped(operands, [compute(x, y) for x, y in zip(a, b, strict=True)])

    return rule


def _gather(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    data, index = operands
    if index.array is None or data.rank != 1:
        return None
    picked = [_elements(data)[int(i)] for i in index.array.reshape(-1)]
    return picked if index.rank == 1 else picked[0] if index.rank == 0 else None


def _slice(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | None:
    data, *bounds = operands
    if any(v.array is None for v in bounds) or data.rank != 1:
        return None
    numbers = [int(v.array.reshape(-1)[0]) for v in bounds if v.array is not None]
    start, end = (None if abs(n) > _LIMIT else n for n in numbers[:2])
    step = numbers[3] if len(numbers) > 3 else 1
    return _elements(data)[slice(start, end, step)]


def _concat(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | None:
    return [e for v in operands for e in _elements(v)]


def _unsqueeze(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | None:
    return _elements(operands[0]) if operands[0].rank == 0 else None


def _squeeze(operands: list[Value], attributes: dict[str, Any]) -> Element | None:
    items = _elements(operands[0])
    return items[0] if operands[0].rank == 1 and len(items) == 1 else None


def _reshape(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    target = operands[1].array
    if target is None or target.size > 1:
        return None
    return list(_elements(operands[0])) if target.size == 1 else _elements(operands[0])[0]


def _cast(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    return _identity(operands, attributes) if attributes.get("to") == _INT64 else None


def _identity(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    return _shaped(operands, list(_elements(operands[0])))


def _product(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    if operands[0].rank != 1:
        return None
    total = product(_elements(operands[0]))
    return [total] if attributes.get("keepdims", 1) else total


def _equal(operands: list[Value], attributes: dict[str, Any]) -> np.ndarray[Any, Any] | None:
    """A size is never -1; other comparisons with a dynamic size are not known."""
    a, b = _elements(operands[0]), _elements(operands[1])
    if len(a) != len(b):
        a, b = (a * len(b), b) if len(a) == 1 else (a, b * len(a))
    known = []
    for x, y in zip(a, b, strict=True):
        if isinstance(x, int) and isinstance(y, int):
            known.append(x == y)
        elif x == y:
            known.append(True)
        elif any(isinstance(e, int) and e < 0 for e in (x, y)):
            known.append(False)
        else:
            return None
    return np.array(known if operands[0].rank or operands[1].rank else known[0])


def _where(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    condition, a, b = operands
    if condition.array is None:
        return None
    flags = condition.array.reshape(-1)
    size = max(flags.size, len(_elements(a)), len(_elements(b)))
    xs, ys = (e * size if len(e) == 1 else e for e in (_elements(a), _elements(b)))
    flags = np.broadcast_to(flags, (size,))
    return _shaped(operands, [x if flag else y for flag, x, y in zip(flags, xs, ys, strict=True)])


_RULES: dict[str, Callable[[list[Value], dict[str, Any]], Any]] = {
    "Add": _elementwise(add),
    "Sub": _elementwise(subtract),
    "Mul": _elementwise(multiply),
    "Div": _elementwise(divide),
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Cast": _cast,
    "Identity": _identity,
    "ReduceProd": _product,
    "Equal": _equal,
    "Where": _where,
}
