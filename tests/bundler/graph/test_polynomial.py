"""Formulas are equal as polynomials, whatever the order and grouping of their nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from bundler.graph.load import from_proto
from bundler.graph.polynomial import formula
from tests.bundler.converters.native.oracle import array
from tests.bundler.graph.fusing import formula as model_of_lines

CONSTANTS: dict[str, Any] = {"one": 1.0, "half": 0.5, "two": 2.0, "three": 3.0, "zero": 0.0, "row": np.ones(5, np.float32)}


def values(lines: list[str]) -> dict[str, ir.Value]:
    graph = from_proto(model_of_lines(lines, array(2, 5), CONSTANTS))
    graph = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph).model
    return ir.convenience.create_value_mapping(graph.graph)


@pytest.mark.parametrize(
    "lines",
    [
        ["t Add one -> g", "x Mul g -> a", "half Mul a -> y"],
        ["x Mul half -> a", "t Add one -> g", "a Mul g -> y"],
        ["x Div two -> a", "a Mul t -> b", "b Add a -> y"],
        ["Neg x -> n", "n Mul half -> a", "a Mul t -> b", "b Add a -> c", "Neg c -> y"],
    ],
)
def test_order_and_grouping_do_not_matter(lines: list[str]) -> None:
    found = values(["Tanh x -> t", *lines])
    polynomial = formula(found["y"], (found["x"], found["t"]))
    assert polynomial is not None
    assert polynomial.is_close({(1, 0): 0.5, (1, 1): 0.5}, None)
    assert polynomial.nodes[-1] is found["y"].producer()


def test_powers_are_products() -> None:
    found = values(["x Pow three -> c", "x Pow two -> s", "c Add s -> y"])
    polynomial = formula(found["y"], (found["x"],))
    assert polynomial is not None and polynomial.terms == {(3,): 1.0, (2,): 1.0}


@pytest.mark.parametrize(
    "lines",
    [["Tanh x -> y"], ["x Div zero -> y"], ["one Div x -> y"], ["x Mul row -> y"], ["x Pow three -> c", "c Mul c -> y"]],
    ids=["another function", "division by zero", "a quotient", "a vector", "a high degree"],
)
def test_other_values_are_no_polynomial(lines: list[str]) -> None:
    found = values(lines)
    assert formula(found["y"], (found["x"],)) is None
