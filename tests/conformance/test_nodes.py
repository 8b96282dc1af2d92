"""ONNX's node tests through the engine, in graph mode; a third of them through a SavedModel on disk as well.

`known_failures` lists the cases that do not pass, with reasons. The list is strict: a case that fails must be on it, and a
case that is on it must fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.cases import ml_cases, node_cases, saved_cases
from tests.conformance.judge import assert_as_listed
from tests.conformance.known_failures import reason
from tests.samples import slow

NAMES = sorted({**node_cases(), **ml_cases()})
MANY = ("test_attention_", "test_affine_grid_")
"""Starts of the names of large graphs that differ in one attribute: 175 cases that take a third of the time of all."""
EXPANDED = "_expanded"
"""In the names of cases whose operator is written as its function's nodes, which the cases of those operators test as well."""
GOAL = 1750


def graphs() -> list[Any]:
    """Return the names of all cases, of which most of the MANY are slow."""
    many = [name for name in NAMES if name.startswith(MANY) or EXPANDED in name]
    few = many[::5]
    return [*(name for name in NAMES if name not in many), *few, *slow(*sorted(set(many) - set(few)))]


@pytest.mark.parametrize("name", graphs())
def test_graph(name: str) -> None:
    assert_as_listed(name)


@pytest.mark.parametrize("name", saved_cases(NAMES))
def test_saved_model(name: str, tmp_path: Path) -> None:
    assert_as_listed(name, tmp_path / "1")


def test_at_least_1750_node_tests_of_onnx_pass() -> None:
    assert sum(reason(name) is None for name in node_cases()) >= GOAL
