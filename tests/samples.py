"""Samples of long lists of test cases for `make test`; `make test-all` runs all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], every: int = 3) -> list[Any]:
    """Return cases for `pytest.mark.parametrize` of which all but each `every`-th, from the first on, are slow."""
    return [
        case if number % every == 0 else pytest.param(case, marks=pytest.mark.slow) for number, case in enumerate(cases)
    ]


def slow(*cases: Any) -> list[Any]:
    """Return cases for `pytest.mark.parametrize` that are all slow; a case of several arguments is a tuple."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]
