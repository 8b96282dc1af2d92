"""Formulas of sums, products and powers as polynomials: one comparison for every order and grouping of their nodes.

    0.5 * (x * (1 + t)),  x * 0.5 * (1 + t),  (x / 2) * (t + 1)     are all     {(1, 0): 0.5, (1, 1): 0.5}     in (x, t)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

import onnx_ir as ir

from bundler.graph.fusion import is_close, number, reader

Terms: TypeAlias = "dict[tuple[int, ...], float]"
"""The exponents of the variables -> the factor."""

_DEEPEST = 10
_HIGHEST = 4
_OPERATORS = ("Add", "Sub", "Mul", "Div")


@dataclass
class Formula:
    """A value as a polynomial, and the nodes that compute it from the variables, each after those that it reads."""

    terms: Terms
    nodes: list[ir.Node] = field(default_factory=list)

    def is_close(self, wanted: Terms, dtype: ir.DataType | None) -> bool:
        """Whether it has these terms, and no others."""
        return self.terms.keys() == wanted.keys() and all(is_close(self.terms[k], wanted[k], dtype) for k in wanted)


def formula(value: ir.Value | None, variables: Sequence[ir.Value], depth: int = _DEEPEST) -> Formula | None:
    """The value as a polynomial in the variables; None where it is none, or one of a high degree."""
    if value is None or depth == 0:
        return None
    if value in variables:
        return Formula({tuple(int(v is value) for v in variables): 1.0})
    known = number(value, variables[0])
    if known is not None:
        return Formula({(0,) * len(variables): known})
    node = value.producer()
    if node is None or node.domain != "":
        return None
    operands = [formula(operand, variables, depth - 1) for operand in node.inputs]
    found = [operand for operand in operands if operand is not None]
    terms = _combined(node, [operand.terms for operand in found]) if len(found) == len(operands) else None
    if terms is None or any(sum(exponents) > _HIGHEST for exponents in terms):
        return None
    nodes = dict.fromkeys(n for operand in found for n in operand.nodes)
    return Formula(terms, [*nodes, node])


def _combined(node: ir.Node, operands: list[Terms]) -> Terms | None:
    match node.op_type, operands:
        case "Neg", [data]:
            return _sum([data], -1.0)
        case "Add", [left, right]:
            return _sum([left, right], 1.0)
        case "Sub", [left, right]:
            return _sum([left, _sum([right], -1.0)], 1.0)
        case "Mul", [left, right]:
            return _product(left, right)
        case "Div", [left, right]:
            divisor = _constant(right)
            return _sum([left], 1.0 / divisor) if divisor else None
        case "Pow", [base, right] if _constant(right) == 2.0:
            return _product(base, base)
        case "Pow", [base, right] if _constant(right) == 3.0:
            return _product(_product(base, base), base)
    return None


def _constant(terms: Terms) -> float | None:
    """Of a polynomial without variables."""
    ((exponents, factor), *others) = terms.items() or [((1,), 0.0)]
    return None if others or any(exponents) else factor


def _sum(parts: Sequence[Terms], factor: float) -> Terms:
    total: Terms = {}
    for exponents, value in (item for part in parts for item in part.items()):
        total[exponents] = total.get(exponents, 0.0) + factor * value
    return total


def _product(left: Terms, right: Terms) -> Terms:
    total: Terms = {}
    for (a, x), (b, y) in product(left.items(), right.items()):
        exponents = tuple(i + j for i, j in zip(a, b, strict=True))
        total[exponents] = total.get(exponents, 0.0) + x * y
    return total


def bases(value: ir.Value | None) -> Iterator[ir.Value]:
    """What a formula may be one of: the value itself and those that it is computed from, the nearest first."""
    level = [] if value is None else [value]
    for _ in range(_HIGHEST + 1):
        yield from level
        nodes = [node for node in (v.producer() for v in level) if node is not None and node.domain == ""]
        read = [v for n in nodes if n.op_type in (*_OPERATORS, "Pow", "Neg") for v in n.inputs if v is not None]
        level = list(dict.fromkeys(v for v in read if v.const_value is None or v.is_graph_input()))


def results(value: ir.Value) -> Iterator[ir.Value]:
    """What is computed from the value by arithmetic, step by step, as long as one such node reads it."""
    for _ in range(_DEEPEST // 2):
        node = reader(value, *_OPERATORS)
        if node is None:
            return
        value = node.outputs[0]
        yield value
