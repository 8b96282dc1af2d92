"""A case against the list of known failures, which is strict both ways."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.cases import case
from tests.conformance.known_failures import reason


def judge(name: str, saved: Path | None = None) -> None:
    """Run a case, through a SavedModel in the folder `saved` if there is one.

    Raises:
        AssertionError: it fails and is not on the list, or passes and is on it.
    """
    from tests.conformance.runner import outcome

    wrong, known = outcome(case(name), saved), reason(name)
    if known is None:
        assert wrong is None, wrong
    else:
        assert wrong is not None, f"{name} passes now: take it off the list ({known})"
