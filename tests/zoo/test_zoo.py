"""Architectures of all families: exported, converted, run, and held against PyTorch in dtype, shape and value.

Each at two and more batch sizes; where a dim is a length, at two and more lengths. The fast ones are part of `make test`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo import table
from tests.zoo.entry import Entry
from tests.zoo.known_failures import REASONS

GOAL = 40


def _parameters(entries: list[Entry]) -> list[object]:
    slow, known = pytest.mark.slow, REASONS.get
    marks = {
        e.name: [*([] if e.fast else [slow]), *([pytest.mark.xfail(reason=known(e.name), strict=True)] if known(e.name) else [])]
        for e in entries
    }
    return [pytest.param(e, id=e.name, marks=marks[e.name]) for e in entries]


@pytest.mark.parametrize("entry", _parameters(list(table.ENTRIES.values())))
def test_architecture(entry: Entry, tmp_path: Path) -> None:
    from tests.zoo import check

    converted = check.convert(entry, entry.make(), tmp_path)
    check.assert_agrees(entry, converted, tmp_path)
    check.assert_transposes(entry, converted, tmp_path)


def test_the_table_is_sound() -> None:
    """Names are unique, as many as promised, and reasons belong to entries."""
    assert len(table.ENTRIES) == sum(len(table.entries_of(family)) for family in table.FAMILIES)
    assert len(table.ENTRIES) - len(REASONS) >= GOAL
    assert not set(REASONS) - set(table.ENTRIES)
    assert 10 <= sum(entry.fast for entry in table.ENTRIES.values())
