"""Samples of long lists of test cases for `make test`; `make test-all` runs all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest


def mark_samples(items: Iterable[pytest.Item]) -> None:
    """Mark as slow all cases of a test with the mark `sample(every)` but the first one and each `every`-th after it.

    Cases that are slow already are left out before counting.
    """
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sample") and not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for group in cases.values():
        mark = group[0].get_closest_marker("sample")
        assert mark is not None
        (every,) = mark.args
        for number, item in enumerate(group):
            if number % every:
                item.add_marker(pytest.mark.slow)


def slow(*cases: Any) -> list[Any]:
    """Return cases for `pytest.mark.parametrize` that are all slow; a case of several arguments is a tuple."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]
