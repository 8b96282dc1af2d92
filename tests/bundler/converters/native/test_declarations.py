"""Handlers that a module declares with `@op`, and which of them take part in a build."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from bundler.converters.native import declarations
from bundler.converters.native.declarations import declared, forget

SOURCE = "from bundler.ops import op\n@op('A', 'B', domain='d')\ndef f(x): return x\n"


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module with one handler for two operators."""
    module = run("test_declarations_a", SOURCE)
    yield module
    for name in [n for n in declarations._declared if n.startswith("test_declarations_")]:
        forget(name)


def run(name: str, source: str, **variables: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(variables)
    exec(source, vars(module))
    return module


def operators(module: ModuleType) -> list[str]:
    return [handler.op_type for handler in declared(module)]


def test_a_handler_is_declared_for_each_of_its_operators(module: ModuleType) -> None:
    assert operators(module) == ["A", "B"]
    assert {handler.function for handler in declared(module)} == {module.f}


def test_a_module_that_runs_again_replaces_its_handlers(module: ModuleType) -> None:
    exec(SOURCE, vars(module))
    assert operators(module) == ["A", "B"]
    assert {handler.function for handler in declared(module)} == {module.f}


def test_imported_handlers_count_by_name_and_with_their_module(module: ModuleType) -> None:
    assert operators(run("test_declarations_b", "", g=module.f)) == ["A", "B"]
    assert operators(run("test_declarations_c", "", m=module)) == ["A", "B"]
    assert operators(run("test_declarations_d", "")) == []


def test_forgotten_handlers_are_gone(module: ModuleType) -> None:
    forget(module.__name__)
    assert operators(module) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "name the operator"), (("",), "name the operator"), (("A", "B"), "must name one PyTorch operator")],
)
def test_wrong_declarations_are_rejected(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declarations.op(*arguments, domain="d", torch="d::a")
