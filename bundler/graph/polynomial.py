"""Represents formulas of sums, products and powers as polynomials, so that one comparison covers every order and grouping.

In (x, t), each of `0.5 * (x * (1 + t))`, `x * 0.5 * (1 + t)` and `(x / 2) * (t + 1)` is {(1, 0): 0.5, (1, 1): 0.5}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

import onnx_ir as ir

from bundler.graph.fusion import check_enclosed, is_close, number, reader, replace

Terms: TypeAlias = "dict[tuple[int, ...], float]"
"""Exponents of the variables -> factor."""

_DEEPEST = 10
_HIGHEST = 4
_OPERATORS = ("Add", "Sub", "Mul", "Div")


@dataclass
class Formula:
    """A value as a polynomial.

    Attributes:
        terms: the terms of the polynomial.
        nodes: the nodes that compute it from the variables, each after those that it reads.
    """

    terms: Terms
    nodes: list[ir.Node] = field(default_factory=list)

    def is_close(self, expected: Terms, dtype: ir.DataType | None) -> bool:
        """Return True if the polynomial has the expected terms and no others, up to rounding to the dtype."""
        return self.terms.keys() == expected.keys() and all(is_close(self.terms[k], expected[k], dtype) for k in expected)


def formula(value: ir.Value | None, variables: Sequence[ir.Value], depth: int = _DEEPEST) -> Formula | None:
    """Return the value as a polynomial in the variables, or None if it is not one or its degree is too high.

    Args:
        value: the value.
        variables: the variables, in the order of the exponents.
        depth: the longest chain of nodes to follow.
    """
    if value is None or depth == 0:
        return None
    if value in variables:
        return Formula({tuple(int(v is value) for v in variables): 1.0})
    constant = number(value, variables[0])
    if constant is not None:
        return Formula({(0,) * len(variables): constant})
    node = value.producer()
    if node is None or node.domain != "":
        return None
    operands = [formula(operand, variables, depth - 1) for operand in node.inputs]
    known = [operand for operand in operands if operand is not None]
    terms = _combined(node, [operand.terms for operand in known]) if len(known) == len(operands) else None
    if terms is None or any(sum(exponents) > _HIGHEST for exponents in terms):
        return None
    nodes = dict.fromkeys(n for operand in known for n in operand.nodes)
    return Formula(terms, [*nodes, node])


def arguments(node: ir.Node) -> Iterator[tuple[ir.Value, Formula]]:
    """Yield each value x of which the input of `node` is a polynomial, the nearest first, with that polynomial."""
    for x in _bases(node.inputs[0]):
        argument = formula(node.inputs[0], (x,))
        if argument is not None:
            yield x, argument


def products(node: ir.Node, x: ir.Value) -> Iterator[Formula]:
    """Yield each polynomial in (x, t) that arithmetic computes from the result t of `node`, step by step."""
    t = node.outputs[0]
    yield from filter(None, (formula(value, (x, t)) for value in _results(t)))


def replace_formula(
    op_type: str, x: ir.Value, parts: tuple[Formula, ir.Node, Formula], attributes: Sequence[ir.Attr] = ()
) -> None:
    """Replace a formula by one operator of x.

    Args:
        op_type: the operator.
        x: its input.
        parts: the argument of a function of x, the node of the function, and what is computed from its result.
        attributes: the attributes of the operator.

    Raises:
        Declined: other nodes read intermediate results, or the nodes are in different graphs.
    """
    argument, function, product = parts
    nodes = [*dict.fromkeys([*argument.nodes, function, *product.nodes])]
    check_enclosed(nodes)
    replace(nodes, ir.Node("", op_type, [x], attributes, name=nodes[-1].name))


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
    """Return the value of a polynomial without variables, or None if it has some."""
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


def _bases(value: ir.Value | None) -> Iterator[ir.Value]:
    """Yield the value itself and the values that it is computed from by arithmetic, the nearest first."""
    level = [] if value is None else [value]
    for _ in range(_HIGHEST + 1):
        yield from level
        nodes = [node for node in (v.producer() for v in level) if node is not None and node.domain == ""]
        operands = [v for n in nodes if n.op_type in (*_OPERATORS, "Pow", "Neg") for v in n.inputs if v is not None]
        level = list(dict.fromkeys(v for v in operands if v.const_value is None or v.is_graph_input()))


def _results(value: ir.Value) -> Iterator[ir.Value]:
    """Yield what is computed from the value by arithmetic, step by step, as long as a single such node reads it."""
    for _ in range(_DEEPEST // 2):
        node = reader(value, *_OPERATORS)
        if node is None:
            return
        value = node.outputs[0]
        yield value
