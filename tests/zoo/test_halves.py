"""Architectures in bfloat16 and float16 answer as PyTorch does, within the tolerance that a build chooses (or see halves.py).

An architecture that PyTorch cannot run or export in this dtype, or that is refused, is listed with the reason in
tests/zoo/known_half_failures.py. A small sample is part of `make test`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo import table
from tests.zoo.halves import DTYPES
from tests.zoo.known_half_failures import REASONS

FAST = {("dlrm", "bfloat16"), ("wide_and_deep", "float16")}


def _parameter(name: str, dtype: str) -> object:
    marks = [] if (name, dtype) in FAST else [pytest.mark.slow]
    if (name, dtype) in REASONS:
        marks.append(pytest.mark.xfail(reason=REASONS[name, dtype], strict=True))
    return pytest.param(name, dtype, id=f"{name}-{dtype}", marks=marks)


@pytest.mark.parametrize(("name", "dtype"), [_parameter(name, dtype) for dtype in DTYPES for name in table.ENTRIES])
def test_half(name: str, dtype: str, tmp_path: Path) -> None:
    from tests.zoo import check
    from tests.zoo.halves import assert_agrees, in_half

    entry, source = in_half(table.ENTRIES[name], dtype)
    assert_agrees(entry, check.convert(entry, source, tmp_path), tmp_path)


def test_known_failures_exist_and_say_whose_they_are() -> None:
    assert {name for name, _ in REASONS} <= set(table.ENTRIES)
    assert {dtype for _, dtype in REASONS} <= set(DTYPES)
    assert all(reason.startswith(("PyTorch: ", "refused: ", "ties: ")) for reason in REASONS.values())
