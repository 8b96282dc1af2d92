"""The lines at the end of a test run that count OpInfo's cases by dtype and outcome."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.opinfo import listed
from tests.opinfo.pool import PLAN, Result

PROPERTY = "opinfo"


def counts(results: Iterable[Result]) -> str:
    """Return the counts of results by dtype and column, as JSON for a test's property."""
    rows: dict[str, Counter[str]] = {}
    for result in results:
        rows.setdefault(result.case.split(" ")[1], Counter())[listed.column(result)] += 1
    return json.dumps(rows)


def lines(stats: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return a table of counts and the reasons of what is refused by us; an empty list if no case ran.

    Args:
        stats: the reports of a terminal reporter by outcome; under xdist, the controller's contains those of all workers.
    """
    rows: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed"):
        for report in stats.get(outcome, ()):
            for name, text in getattr(report, "user_properties", ()):
                if name == PROPERTY:
                    for dtype, row in json.loads(text).items():
                        rows.setdefault(dtype, Counter()).update(row)
    if not rows:
        return []
    ordered = {dtype: rows[dtype] for dtype in PLAN if dtype in rows}
    if len(ordered) > 1:
        ordered["all"] = sum(ordered.values(), Counter())
    table = ["OpInfo: " + " / ".join(listed.COLUMNS)]
    table += [f"{dtype:>9}: " + " / ".join(f"{row[column]:,}" for column in listed.COLUMNS) for dtype, row in ordered.items()]
    return table + [f"  refused: {r.sentence}" for r in listed.REASONS.values() if r.column == listed.REFUSED]
