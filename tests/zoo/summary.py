"""The line at the end of a run that says how many architectures of the zoo agree with PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_TEST = "zoo/test_zoo.py::test_architecture["


def line(stats: Mapping[str, Iterable[Any]]) -> str | None:
    """`zoo: 52/52 architectures agree with PyTorch`, or None where none ran.

    Args:
        stats: a terminal reporter's reports by outcome; under xdist the controller's has those of all workers.
    """
    agree = _names(stats, "passed")
    others = _names(stats, "failed") | _names(stats, "error") | _names(stats, "xfailed") | _names(stats, "xpassed")
    ran = agree | others
    if not ran:
        return None
    return f"zoo: {len(agree - others)}/{len(ran)} architectures agree with PyTorch"


def _names(stats: Mapping[str, Iterable[Any]], outcome: str) -> set[str]:
    return {r.nodeid for r in stats.get(outcome, ()) if _TEST in getattr(r, "nodeid", "")}
