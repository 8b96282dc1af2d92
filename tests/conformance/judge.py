"""Compares the outcome of a case with the list of known failures."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.cases import case
from tests.conformance.known_failures import RANDOM, reason


def assert_as_listed(name: str, saved: Path | None = None) -> None:
    """Run a case, through a SavedModel in the folder `saved` if one is given.

    Raises:
        AssertionError: the case fails but is not on the list, or passes but is on it; a random output has another dtype or shape.
    """
    from tests.conformance.runner import assert_same_kind, outcome

    known = reason(name)
    if known == RANDOM:
        assert_same_kind(case(name), saved)
        return
    problem = outcome(case(name), saved)
    if known is None:
        assert problem is None, problem
    else:
        assert problem is not None, f"{name} passes now: remove it from the list ({known})"
