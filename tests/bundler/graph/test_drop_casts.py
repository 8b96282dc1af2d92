"""DropCasts removes casts without effect, except those whose result is a graph output."""

from __future__ import annotations

import pytest

from bundler.graph.drop_casts import DropCasts
from bundler.graph.load import from_proto
from tests.bundler.converters.native.oracle import array
from tests.bundler.graph.fusing import assert_agrees_unfused, formula, reasons

CASES: list[tuple[list[str], list[str], list[str]]] = [
    (["Cast:float32 x -> a", "Cast:float32 a -> b", "Relu b -> y"], ["Relu"], []),
    (["Cast:float64 x -> a", "Relu a -> b", "Cast:float32 b -> y"], ["Cast", "Relu", "Cast"], []),
    (["Relu x -> a", "Cast:float32 a -> y"], ["Relu", "Cast"], ["The result must not be a graph output."]),
    (["Relu x -> a", "Cast:float64 a -> y"], ["Relu", "Cast"], []),
]


@pytest.mark.parametrize(
    ("lines", "operators", "reason"), CASES, ids=["to its own type", "there and back", "an output", "another type"]
)
def test_only_casts_without_effect_are_removed(lines: list[str], operators: list[str], reason: list[str]) -> None:
    model, fusion = formula(lines, array(2, 5), {}), DropCasts()
    assert [node.op_type for node in fusion(from_proto(model)).model.graph] == operators
    assert reasons(fusion) == reason
    assert_agrees_unfused(model, {"x": array(2, 5)}, {"x": array(3, 5, seed=1)})
