"""The list of known failures: no case is listed twice, and every listed case exists."""

from __future__ import annotations

from tests.conformance.cases import ml_cases, model_cases, node_cases
from tests.conformance.known_failures import REASONS


def test_every_listed_case_exists_and_is_listed_once() -> None:
    listed = [name for names in REASONS.values() for name in names]
    assert len(listed) == len(set(listed)), "a case is listed twice"
    assert not set(listed) - {*node_cases(), *ml_cases(), *model_cases()}, "listed, but no such case"
