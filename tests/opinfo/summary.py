"""The lines at the end of a test run that count OpInfo's cases by dtype and outcome."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.opinfo import listed
from tests.opinfo.pool import PLAN, Result

PROPERTY = "opinfo"
SECONDS = "opinfo-seconds"


def counts(results: Iterable[Result]) -> str:
    """Return the counts of results by dtype and column, as JSON for a test's property."""
    rows: dict[str, Counter[str]] = {}
    for result in results:
        rows.setdefault(result.case.split(" ")[1], Counter())[listed.column(result)] += 1
    return json.dumps(rows)


def lines(stats: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return the table of a test run; an empty list if no case ran.

    Args:
        stats: the reports of a terminal reporter by outcome; under xdist, the controller's contains those of all workers.
    """
    reports = [report for outcome in ("passed", "failed") for report in stats.get(outcome, ())]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    lines = table(text for name, text in properties if name == PROPERTY)
    seconds = sum(value for name, value in properties if name == SECONDS)
    return [*lines, f"OpInfo took {seconds:,} s of its workers' time"] if lines else []


def table(texts: Iterable[str]) -> list[str]:
    """Return the sums of several `counts` by dtype, and the sentences of what is refused by us; an empty list without any."""
    rows: dict[str, Counter[str]] = {}
    for text in texts:
        for dtype, row in json.loads(text).items():
            rows.setdefault(dtype, Counter()).update(row)
    if not rows:
        return []
    ordered = {dtype: rows[dtype] for dtype in PLAN if dtype in rows}
    if len(ordered) > 1:
        ordered["all"] = sum(ordered.values(), Counter())
    width = [max(len(column), 7) for column in listed.COLUMNS]
    cells = [("", listed.COLUMNS), *((d, [f"{row[column]:,}" for column in listed.COLUMNS]) for d, row in ordered.items())]
    lines = [f"OpInfo {name:>8}  " + "  ".join(c.rjust(w) for c, w in zip(row, width, strict=True)) for name, row in cells]
    if any(row[listed.REFUSED] for row in rows.values()):
        lines += [f"  refused: {r.sentence}" for r in listed.REASONS.values() if r.column == listed.REFUSED]
    return lines
