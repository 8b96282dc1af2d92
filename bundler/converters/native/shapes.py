"""Shape arithmetic at build time: nodes over integer vectors in which some sizes are dynamic.

Exporters write `Shape -> Gather -> Mul -> Concat -> Reshape` around every view. With a dynamic batch these are not
constants, but all the rest in them is; folding them over `int | Dim` leaves a Reshape with one -1 instead of a dozen ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bundler.converters.native.context import Context
from bundler.converters.native.dims import Element, add, divide, multiply, product, subtract
from bundler.converters.native.value import Value
from bundler.values.arrays import Array

_INT64 = 7  # onnx.TensorProto.INT64
_LIMIT = np.iinfo(np.int64).max // 2
"""Slice bounds beyond this mean "to the end" (ONNX writes INT64_MAX)."""


def fold(op_type: str, operands: Sequence[Value | None], attributes: dict[str, Any], ctx: Context) -> Value | None:
    """Return the result of a node over shape vectors, or None if the node is ordinary computation."""
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


# -- one rule per operator: Values with elements in, elements out ----------------------------------------------------


def _elements(value: Value) -> tuple[Element, ...]:
    elements = value.elements
    assert elements is not None
    return elements


def _shaped(like: Sequence[Value], items: Sequence[Element]) -> Sequence[Element] | Element:
    """Return the items, or the single item if all operands are scalars."""
    return items[0] if all(v.rank == 0 for v in like) else items


def _pairs(a: Value, b: Value) -> list[tuple[Element, Element]] | None:
    """Return the items of two vectors side by side, a single item repeated; None if they do not broadcast."""
    xs, ys = _elements(a), _elements(b)
    if len(xs) != len(ys):
        if 1 not in (len(xs), len(ys)):
            return None
        xs, ys = (xs * len(ys), ys) if len(xs) == 1 else (xs, ys * len(xs))
    return list(zip(xs, ys, strict=True))


def _elementwise(
    compute: Callable[[Element, Element], Element],
) -> Callable[[list[Value], dict[str, Any]], Sequence[Element] | Element | None]:
    def rule(operands: list[Value], _: dict[str, Any]) -> Sequence[Element] | Element | None:
        pairs = _pairs(*operands)
        return None if pairs is None else _shaped(operands, [compute(x, y) for x, y in pairs])

    return rule


def _gather(operands: list[Value], attributes: dict[str, Any]) -> Sequence[Element] | Element | None:
    data, index = operands
    if index.array is None or data.rank != 1:
        return None
    items = [_elements(data)[int(i)] for i in index.array.reshape(-1)]
    return items if index.rank == 1 else items[0] if index.rank == 0 else None


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


def _equal(operands: list[Value], attributes: dict[str, Any]) -> Array | None:
    """A size is never negative; the result of any other comparison with a dynamic size is unknown."""
    pairs = _pairs(*operands)
    if pairs is None:
        return None
    known = []
    for x, y in pairs:
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
