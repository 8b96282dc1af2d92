"""The lines at the end of a test run that count the architectures of the zoo that agree with PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_TEST = "zoo/test_zoo.py::test_architecture["
_FAST_PATH_TEST = "zoo/test_fast_path.py::test_fast_path["
_HALF_TEST = "zoo/test_halves.py::test_half["


def line(stats: Mapping[str, Iterable[Any]]) -> str | None:
    """Return `zoo: 52/52 architectures agree with PyTorch`, or None if no architecture was tested.

    Args:
        stats: the reports of a terminal reporter by outcome; under xdist, the controller's contains those of all workers.
    """
    share = _share(stats, _TEST)
    return f"zoo: {share} architectures agree with PyTorch" if share else None


def fast_path_line(stats: Mapping[str, Iterable[Any]]) -> str | None:
    """Return the line of the fast path, or None if no architecture was tested there.

    Args:
        stats: see `line`.
    """
    share = _share(stats, _FAST_PATH_TEST)
    return f"zoo: {share} architectures have a fast path that agrees with PyTorch" if share else None


def _share(stats: Mapping[str, Iterable[Any]], test: str) -> str | None:
    """Return how many runs of a test passed, `52/52`; None if it was not run."""
    passed = _names(stats, "passed", test)
    others = set().union(*(_names(stats, outcome, test) for outcome in ("failed", "error", "xfailed", "xpassed")))
    tested = passed | others
    return f"{len(passed - others)}/{len(tested)}" if tested else None


def _names(stats: Mapping[str, Iterable[Any]], outcome: str, test: str) -> set[str]:
    return {r.nodeid for r in stats.get(outcome, ()) if test in getattr(r, "nodeid", "")}


def half_lines(stats: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return a line per half-precision dtype that counts the architectures by outcome; none if none was tested.

    Args:
        stats: see `line`.
    """
    lines = []
    for dtype in ("bfloat16", "float16"):
        outcomes = {key: _half_reports(stats, key, dtype) for key in ("passed", "xfailed", "failed", "error", "xpassed")}
        if any(outcomes.values()):
            reasons = [str(getattr(report, "wasxfail", "")) for report in outcomes["xfailed"]]
            torch, ties = (sum(word in reason for reason in reasons) for word in ("PyTorch: ", "ties: "))
            wrong = len({r.nodeid for key in ("failed", "error", "xpassed") for r in outcomes[key]})
            lines.append(
                f"zoo in {dtype}: {len(outcomes['passed'])} right, {torch} that PyTorch cannot run or export, "
                f"{ties} with equal scores in another order, {len(reasons) - torch - ties} refused, {wrong} wrong"
            )
    return lines


def _half_reports(stats: Mapping[str, Iterable[Any]], outcome: str, dtype: str) -> list[Any]:
    return [
        report for report in stats.get(outcome, ())
        if _HALF_TEST in getattr(report, "nodeid", "") and report.nodeid.endswith(f"-{dtype}]")
    ]  # fmt: skip
