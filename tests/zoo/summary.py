"""The line at the end of a test run that counts the architectures of the zoo that agree with PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_TEST = "zoo/test_zoo.py::test_architecture["


def line(stats: Mapping[str, Iterable[Any]]) -> str | None:
    """Return `zoo: 52/52 architectures agree with PyTorch`, or None if no architecture was tested.

    Args:
        stats: the reports of a terminal reporter by outcome; under xdist, the controller's contains those of all workers.
    """
    passed = _names(stats, "passed")
    others = _names(stats, "failed") | _names(stats, "error") | _names(stats, "xfailed") | _names(stats, "xpassed")
    tested = passed | others
    if not tested:
        return None
    return f"zoo: {len(passed - others)}/{len(tested)} architectures agree with PyTorch"


def _names(stats: Mapping[str, Iterable[Any]], outcome: str) -> set[str]:
    return {r.nodeid for r in stats.get(outcome, ()) if _TEST in getattr(r, "nodeid", "")}
